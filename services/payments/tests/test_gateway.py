"""The cases that every gateway passes. A new one joins by an entry in PROVIDERS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from common.events import Currency
from common.ids import new_id
from common.mongo import Database
from common.testing import eventually
from payments.gateway import (
    BadSignature,
    Captured,
    Charge,
    Declined,
    Found,
    GatewayRefused,
    GatewayTimeout,
    PaymentGateway,
    Processing,
)
from payments.sandbox import SandboxGateway, signature

SECRET = "what the provider signs with"


@dataclass
class Provider:
    """A gateway, and what a test must know about the provider behind it."""

    gateway: PaymentGateway
    good: str
    declined: str
    slow: str
    loses_the_answer: str
    balance: Callable[[], Awaitable[int]]
    """Money taken and not given back."""
    signed: Callable[[str, datetime, str], tuple[bytes, Mapping[str, str]]]
    """A webhook call about a charge, signed at a time with a secret."""


@asynccontextmanager
async def sandbox_provider(db: Database) -> AsyncIterator[Provider]:
    """The sandbox, its webhook calls going nowhere."""

    async def balance() -> int:
        moved = {"captured_at": {"$lte": datetime.now(UTC)}, "refunded_at": None}
        return sum(charge["amount"] for charge in await db.sandbox_charges.find(moved).to_list())

    def signed(reference: str, at: datetime, secret: str) -> tuple[bytes, Mapping[str, str]]:
        body = b'{"id": "evt_1", "type": "charge.updated", "reference": "%b"}' % reference.encode()
        seconds = int(at.timestamp())
        return body, {"sandbox-signature": f"t={seconds},v1={signature(secret, seconds, body)}"}

    async with SandboxGateway.open(db.sandbox_charges, SECRET, "http://127.0.0.1:1/") as gateway:
        yield Provider(
            gateway, "pm_card_visa", "pm_card_declined", "pm_card_duplicate", "pm_card_lost", balance, signed
        )


PROVIDERS: dict[str, Callable[[Database], AbstractAsyncContextManager[Provider]]] = {"sandbox": sandbox_provider}


@pytest_asyncio.fixture(params=sorted(PROVIDERS))
async def provider(request: pytest.FixtureRequest, db: Database) -> AsyncIterator[Provider]:
    async with PROVIDERS[request.param](db) as opened:
        yield opened


def a_charge(method: str, payment_id: str | None = None, amount: int = 900) -> Charge:
    ends = datetime.now(UTC) + timedelta(minutes=15)
    return Charge(payment_id or new_id(), new_id(), amount, Currency.EUR, method, ends)


async def test_a_charge_takes_the_money_once_however_often_it_is_asked_for(provider: Provider) -> None:
    charge = a_charge(provider.good)

    answers = await asyncio.gather(*(provider.gateway.charge(charge) for _ in range(8)))
    answers.append(await provider.gateway.charge(charge))

    assert isinstance(answers[0], Captured)
    assert set(answers) == {answers[0]}
    assert await provider.balance() == 900


async def test_a_declined_charge_takes_nothing_and_stays_declined(provider: Provider) -> None:
    charge = a_charge(provider.declined)

    answer = await provider.gateway.charge(charge)

    assert isinstance(answer, Declined)
    assert answer.reason == "card_declined"
    assert await provider.gateway.charge(charge) == answer
    assert await provider.gateway.retrieve(answer.reference) == Found(charge.payment_id, answer)
    assert await provider.balance() == 0


async def test_a_slow_charge_is_processing_until_it_is_asked_for_again(provider: Provider) -> None:
    charge = a_charge(provider.slow)
    answer = await provider.gateway.charge(charge)
    assert isinstance(answer, Processing)

    async def captured() -> bool:
        found = await provider.gateway.retrieve(answer.reference)
        return found == Found(charge.payment_id, Captured(answer.reference))

    await eventually(captured)
    assert await provider.gateway.charge(charge) == answer  # the same call, the same answer
    assert await provider.balance() == 900


async def test_a_lost_answer_is_found_by_the_same_call_again(provider: Provider) -> None:
    charge = a_charge(provider.loses_the_answer)
    with pytest.raises(GatewayTimeout):
        await provider.gateway.charge(charge)

    assert isinstance(await provider.gateway.charge(charge), Captured)
    assert await provider.balance() == 900


async def test_a_key_is_for_one_charge_only(provider: Provider) -> None:
    charge = a_charge(provider.good)
    await provider.gateway.charge(charge)

    for other in (a_charge(provider.good, charge.payment_id, 901), a_charge(provider.declined, charge.payment_id)):
        with pytest.raises(GatewayRefused):
            await provider.gateway.charge(other)
    assert await provider.balance() == 900


async def test_a_refund_gives_the_money_back_once_however_often_it_is_asked_for(provider: Provider) -> None:
    kept, returned = a_charge(provider.good, amount=70), a_charge(provider.good)
    await provider.gateway.charge(kept)
    answer = await provider.gateway.charge(returned)

    await asyncio.gather(*(provider.gateway.refund(returned.payment_id, answer.reference) for _ in range(8)))
    await provider.gateway.refund(returned.payment_id, answer.reference)

    assert await provider.balance() == 70
    assert await provider.gateway.charge(returned) == answer  # and the charge's key takes nothing anew
    assert await provider.balance() == 70


async def test_what_was_never_taken_is_not_given_back(provider: Provider) -> None:
    charge = a_charge(provider.declined)
    answer = await provider.gateway.charge(charge)

    with pytest.raises(GatewayRefused):
        await provider.gateway.refund(charge.payment_id, answer.reference)
    with pytest.raises(GatewayRefused):
        await provider.gateway.refund(new_id(), "ch_unknown")


async def test_a_charge_that_is_not_ours_is_none(provider: Provider) -> None:
    assert await provider.gateway.retrieve("ch_unknown") is None


async def test_only_its_own_payment_methods_are_accepted(provider: Provider) -> None:
    assert provider.gateway.accepts(provider.good)
    assert not provider.gateway.accepts("cash")


async def test_a_signed_webhook_call_names_its_charge(provider: Provider) -> None:
    body, headers = provider.signed("ch_1", datetime.now(UTC), SECRET)

    assert provider.gateway.verify(body, headers) == "ch_1"


async def test_a_webhook_call_that_is_forged_changed_or_played_back_is_refused(provider: Provider) -> None:
    now = datetime.now(UTC)
    body, headers = provider.signed("ch_1", now, SECRET)
    name, value = next(iter(headers.items()))

    for forged in (
        (body, {}),
        (body, {name: ""}),
        (body, {name: value.split(",")[0]}),
        (body, {name: value.split(",")[1]}),
        (body, {name: "t=x,v1=y"}),
        (body, {name: value.replace("t=", "t=1")}),
        (body, {name: value[:-1] + ("0" if value[-1] != "0" else "1")}),
        (body, {name: value[:-1] + "é"}),
        (body.replace(b"ch_1", b"ch_2"), headers),
        (body + b" ", headers),
        provider.signed("ch_1", now, "another secret"),
        provider.signed("ch_1", now - timedelta(minutes=5, seconds=2), SECRET),
        provider.signed("ch_1", now + timedelta(minutes=5, seconds=2), SECRET),
    ):
        with pytest.raises(BadSignature):
            provider.gateway.verify(*forged)


async def test_a_signature_holds_for_five_minutes(provider: Provider) -> None:
    signed = provider.signed("ch_1", datetime.now(UTC) - timedelta(minutes=4, seconds=58), SECRET)

    assert provider.gateway.verify(*signed) == "ch_1"
