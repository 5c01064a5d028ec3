"""Every call to the gateway is published, however it ended."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from common.events import PaymentAuthorized, PaymentCaptured, PaymentDisputed, PaymentRefunded, ProviderCalled
from common.telemetry import Cause, caused_by
from payments.gateways.port import Answer, Charge, Found, GatewayRefused, GatewayTimeout, GatewayUnavailable, Refunds
from payments.gateways.sandbox import SandboxGateway
from tests.support.bus import Events

if TYPE_CHECKING:
    from services.payments.tests.conftest import Workshop


class Failing(SandboxGateway):
    """Does what it is asked, and then fails with what stands in `failures`, once each."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.failures: list[Exception] = []

    async def charge(self, charge: Charge) -> Answer:
        answer = await super().charge(charge)
        self._fail()
        return answer

    async def retrieve(self, reference: str) -> Found | None:
        self._fail()
        return await super().retrieve(reference)

    async def refund(self, payment_id: str, reference: str, attempt: int = 0) -> Refunds:
        refunds = await super().refund(payment_id, reference, attempt)
        self._fail()
        return refunds

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


@pytest_asyncio.fixture
async def gateway(workshop: "Workshop") -> AsyncIterator[Failing]:
    """The sandbox, its webhook calls going nowhere."""
    async with Failing.open(workshop.db.sandbox_charges, "a secret of these tests", "http://127.0.0.1:1/") as gateway:
        yield gateway


def outcomes(calls: list[ProviderCalled]) -> list[tuple[str, str]]:
    """The operation and the outcome of each call."""
    return [(call.operation, call.outcome) for call in calls]


@pytest.mark.parametrize(
    ("failure", "outcome"), [(GatewayTimeout("late"), "timed_out"), (GatewayUnavailable("away"), "unavailable")]
)
async def test_a_call_without_an_answer_is_published_and_so_is_the_one_that_finds_the_money(
    workshop: "Workshop", gateway: Failing, events: Events, failure: Exception, outcome: str
) -> None:
    cashier, due = workshop.cashier(gateway), await workshop.due()
    gateway.failures = [failure]

    payment = await cashier.pay(due.id, "pm_card_visa", due.buyer_id, None)
    await cashier.settle(payment.id)

    calls = await events.published(ProviderCalled, 2)
    assert outcomes(calls) == [("charge", outcome), ("charge", "authorized")]
    assert [call.reference for call in calls] == [None, f"ch_{payment.id}"]
    assert {(call.payment_id, call.order_id) for call in calls} == {(payment.id, due.id)}
    assert all(0 <= call.milliseconds < 60_000 for call in calls)
    [authorized] = await events.published(PaymentAuthorized)
    assert authorized.payment_version == calls[-1].payment_version


async def test_a_call_that_the_gateway_refused_is_published(
    workshop: "Workshop", gateway: Failing, events: Events
) -> None:
    payment = await workshop.intent()
    gateway.failures = [GatewayRefused("no such currency")]

    with pytest.raises(GatewayRefused):
        await workshop.cashier(gateway).settle(payment.id)

    assert outcomes(await events.published(ProviderCalled)) == [("charge", "refused")]


async def test_lookups_of_slow_and_of_lost_charges_are_published(
    workshop: "Workshop", gateway: Failing, events: Events
) -> None:
    cashier, payment = workshop.cashier(gateway), await workshop.intent("pm_card_slow")
    await cashier.settle(payment.id)
    await cashier.settle(payment.id)
    await workshop.db.sandbox_charges.delete_many({})

    with pytest.raises(GatewayUnavailable):
        await cashier.settle(payment.id)

    calls = await events.published(ProviderCalled, 3)
    assert outcomes(calls) == [("charge", "processing"), ("retrieve", "processing"), ("retrieve", "not_found")]


async def test_news_that_comes_at_once_is_told_in_one_version_each(
    workshop: "Workshop", gateway: Failing, events: Events
) -> None:
    """A dispute is lost on the way, then won; meanwhile the money was refunded at the provider."""
    cashier, payment = workshop.cashier(gateway), await workshop.intent("pm_bank")
    await cashier.settle(payment.id)
    ledger, now = workshop.db.sandbox_charges, datetime.now(UTC)
    await ledger.update_one({"_id": payment.id}, {"$set": {"captured_at": now, "disputed_at": now}})
    await cashier.settle(payment.id)
    await ledger.update_one({"_id": payment.id}, {"$set": {"dispute": "won", "refunded_at": now}})
    await cashier.hear(f"ch_{payment.id}")

    [captured] = await events.published(PaymentCaptured)
    opened, won = await events.published(PaymentDisputed, 2)
    [refunded] = await events.published(PaymentRefunded)
    versions = [event.payment_version for event in (captured, opened, won, refunded)]
    assert versions == sorted(set(versions))


async def test_a_refund_names_what_it_was_made_for(workshop: "Workshop", gateway: Failing, events: Events) -> None:
    cashier, payment = workshop.cashier(gateway), await workshop.captured(gateway)
    with caused_by(Cause("request", "00-trace", "the rejection")):
        await cashier.give_back(payment.id, "sold_out")
    gateway.failures = [GatewayTimeout("late")]

    with pytest.raises(GatewayTimeout):
        await cashier.settle(payment.id)
    await cashier.settle(payment.id)

    await events.published(PaymentRefunded)
    calls = await events.messages("PAYMENTS", ProviderCalled.subject)
    assert [call.headers.get("ce-causationid") for call in calls][-2:] == ["the rejection"] * 2
    [refunded] = await events.messages("PAYMENTS", PaymentRefunded.subject)
    assert (refunded.headers["ce-causationid"], refunded.headers["ce-requestid"]) == ("the rejection", "request")
