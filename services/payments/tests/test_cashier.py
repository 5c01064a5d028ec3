"""No money is lost or moved twice while anything dies at any moment.

A process that died is shown by the state it leaves: a payment written, a gateway asked or not, nobody at work.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from common.events import PaymentAuthorized, PaymentCaptured, PaymentFailed, PaymentRefunded, PaymentReleased
from common.ids import new_id
from payments.domain import Payment
from payments.due import DueState, OrderNotPayable
from payments.gateways.port import Answer, Charge, Declined, GatewayUnavailable
from payments.gateways.sandbox import Notice, SandboxGateway, signature
from payments.routes import PaymentView
from payments.status import PaymentStatus, PublicStatus
from tests.support.bus import Events
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import Workshop

SECRET = "what the sandbox of these tests signs with"


class Halting(SandboxGateway):
    """Stands still while it is asked for a charge: before it is authorized, or after. Or is not there at all."""

    before = after = False
    failures = 0

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def charge(self, charge: Charge) -> Answer:
        await self._stand(self.before)
        if self.failures:
            self.failures -= 1
            raise GatewayUnavailable("nobody answers")
        answer = await super().charge(charge)
        await self._stand(self.after)
        return answer

    async def _stand(self, here: bool) -> None:
        if here:
            self.reached.set()
            await self.go_on.wait()


@pytest_asyncio.fixture
async def gateway(workshop: "Workshop") -> AsyncIterator[Halting]:
    """The sandbox, its webhook calls going nowhere."""
    async with Halting.open(workshop.db.sandbox_charges, SECRET, "http://127.0.0.1:1/") as gateway:
        yield gateway


def signed(reference: str) -> tuple[bytes, dict[str, str]]:
    """The webhook call about a charge."""
    body, now = Notice(id="evt_1", reference=reference).model_dump_json().encode(), int(time.time())
    return body, {"sandbox-signature": f"t={now},v1={signature(SECRET, now, body)}"}


async def money(workshop: "Workshop") -> int:
    """What the sandbox has taken and not given back."""
    captured = {"captured_at": {"$ne": None}, "refunded_at": None}
    return sum(c["amount"] for c in await workshop.db.sandbox_charges.find(captured).to_list())


async def authorized(workshop: "Workshop") -> int:
    """What the sandbox keeps ready and has not taken."""
    ready = {"authorized_at": {"$ne": None}, "captured_at": None, "ended": None}
    return sum(c["amount"] for c in await workshop.db.sandbox_charges.find(ready).to_list())


def charge_of(payment: Payment) -> Charge:
    """What the gateway was asked before its answer was lost."""
    return Charge(payment.id, payment.order_id, payment.amount, payment.currency, payment.method, payment.hold_ends_at)


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("pm_card_visa", PaymentStatus.AUTHORIZED),
        ("pm_card_declined", PaymentStatus.FAILED),
        ("pm_card_slow", PaymentStatus.PROCESSING),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
async def test_a_payment_whose_process_died_before_it_saved_the_answer_is_finished(
    workshop: "Workshop", gateway: Halting, events: Events, method: str, status: PaymentStatus, asked: bool
) -> None:
    payment = await workshop.intent(method)
    if asked:
        await gateway.charge(charge_of(payment))

    await workshop.cashier(gateway).settle(payment.id)

    assert (await workshop.payments.get(payment.id)).status is status
    assert await workshop.db.sandbox_charges.count_documents({}) == 1
    for kind, moved in ((PaymentAuthorized, PaymentStatus.AUTHORIZED), (PaymentFailed, PaymentStatus.FAILED)):
        published = int(status is moved)
        assert len(await events.published(kind, published)) == published


@pytest.mark.parametrize("asked", [False, True])
async def test_a_request_that_is_cut_off_in_the_call_is_finished_in_the_background(
    workshop: "Workshop", gateway: Halting, events: Events, asked: bool
) -> None:
    gateway.before, gateway.after = not asked, asked
    due = await workshop.due()
    cashier = workshop.cashier(gateway)
    paying = asyncio.create_task(cashier.pay(due.id, "pm_card_visa", due.buyer_id, None))
    await gateway.reached.wait()
    paying.cancel()
    assert await authorized(workshop) == (700 if asked else 0)

    gateway.before = gateway.after = False
    async with cashier.settling():
        [found] = await events.published(PaymentAuthorized)

    assert found.order_id == due.id
    assert await authorized(workshop) == 700


async def test_an_authorization_whose_answer_was_lost_is_found(
    workshop: "Workshop", gateway: Halting, events: Events
) -> None:
    due = await workshop.due()
    cashier = workshop.cashier(gateway)

    payment = await cashier.pay(due.id, "pm_card_lost", due.buyer_id, None)
    assert (payment.status, payment.answer) == (PaymentStatus.CREATED, PublicStatus.PROCESSING)
    async with cashier.settling():
        [found] = await events.published(PaymentAuthorized)

    assert found.payment_id == payment.id
    assert await authorized(workshop) == 700


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("end", ["cancelled", "paid", "accepted", "expired"])
async def test_nobody_is_charged_after_a_no(workshop: "Workshop", gateway: Halting, end: str, asked: bool) -> None:
    payment = await workshop.intent()
    if asked:  # and the answer was lost
        await gateway.charge(charge_of(payment))
    due = await workshop.dues.find(payment.order_id)
    assert due
    ended = {"expires_at": datetime.now(UTC)} if end == "expired" else {"state": DueState(end)}
    await workshop.dues.keep(due.model_copy(update={**ended, "order_version": 2}))

    await workshop.cashier(gateway).settle(payment.id)

    stored = await workshop.payments.get(payment.id)
    assert (stored.status, stored.live_order) == (PaymentStatus.FAILED, None)
    assert await authorized(workshop) == await money(workshop) == 0
    assert isinstance(await gateway.charge(charge_of(payment)), Declined)  # a call that was on its way
    with pytest.raises(OrderNotPayable):  # the answer to the request, and to its repetition: no card was declined
        PaymentView.answering(stored)


async def test_a_capture_that_is_refused_fails_the_payment(
    workshop: "Workshop", gateway: Halting, events: Events
) -> None:
    payment, cashier = await workshop.intent("pm_card_capture_fails"), workshop.cashier(gateway)
    await cashier.settle(payment.id)
    await cashier.accept(payment.id)

    await cashier.settle(payment.id)

    [failed] = await events.published(PaymentFailed)
    assert failed.reason == "capture_refused"
    assert await authorized(workshop) == await money(workshop) == 0


async def test_an_authorization_is_released_once(workshop: "Workshop", gateway: Halting, events: Events) -> None:
    payment, cashier = await workshop.intent(), workshop.cashier(gateway)
    await cashier.settle(payment.id)
    await cashier.give_back(payment.id, "sold_out")

    await asyncio.gather(*(cashier.settle(payment.id) for _ in range(3)))

    [released] = await events.published(PaymentReleased)
    assert released.reason == "sold_out"
    assert await authorized(workshop) == await money(workshop) == 0


async def test_an_authorization_that_is_gone_is_found_and_finished(workshop: "Workshop", gateway: Halting) -> None:
    payment, cashier = await workshop.intent(), workshop.cashier(gateway)
    await cashier.settle(payment.id)
    await gateway.release(f"ch_{payment.id}")

    await cashier.settle(payment.id)

    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.FAILED


async def test_a_payment_that_orders_accepted_is_captured_even_if_it_forgot_that(
    workshop: "Workshop", gateway: Halting
) -> None:
    payment, cashier = await workshop.intent(), workshop.cashier(gateway)
    await cashier.settle(payment.id)
    due = await workshop.dues.find(payment.order_id)
    assert due
    other = due.model_copy(update={"order_version": 2, "state": DueState.ACCEPTED, "accepted_payment": new_id()})
    await workshop.dues.keep(other)
    await cashier.settle(payment.id)
    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.AUTHORIZED

    await workshop.dues.keep(other.model_copy(update={"order_version": 3, "accepted_payment": payment.id}))
    for _ in range(2):
        await cashier.settle(payment.id)

    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.CAPTURED
    assert await money(workshop) == 700


async def test_an_answer_waits_for_the_word_of_orders(workshop: "Workshop", gateway: Halting) -> None:
    due = await workshop.due()
    cashier = workshop.cashier(gateway, word_timeout=60)
    async with cashier.settling():
        paying = asyncio.create_task(cashier.pay(due.id, "pm_card_visa", due.buyer_id, None))

        async def is_authorized() -> Payment | None:
            [*made] = await workshop.payments.made_by(due.buyer_id, None, 1, None)
            return made[0] if made and made[0].status is PaymentStatus.AUTHORIZED else None

        payment = await eventually(is_authorized)
        await cashier.accept(payment.id)

        assert (await paying).answer is PublicStatus.CAPTURED
    assert await money(workshop) == 700


async def test_a_gateway_that_is_away_is_asked_again(workshop: "Workshop", gateway: Halting) -> None:
    due = await workshop.due()
    cashier = workshop.cashier(gateway)
    gateway.failures = 2

    payment = await cashier.pay(due.id, "pm_card_visa", due.buyer_id, None)
    with pytest.raises(GatewayUnavailable):
        await cashier.settle(payment.id)
    await cashier.settle(payment.id)

    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.AUTHORIZED
    assert await authorized(workshop) == 700


async def test_a_webhook_call_that_never_came_is_not_missed(
    workshop: "Workshop", gateway: Halting, events: Events
) -> None:
    payment = await workshop.intent("pm_card_duplicate")
    cashier = workshop.cashier(gateway)
    await cashier.settle(payment.id)
    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.PROCESSING

    await cashier.settle(payment.id)

    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.AUTHORIZED
    [_] = await events.published(PaymentAuthorized)


async def test_a_charge_that_takes_its_time_is_asked_for_again_later(workshop: "Workshop", gateway: Halting) -> None:
    payment = await workshop.intent("pm_card_late")
    cashier = workshop.cashier(gateway)
    await cashier.settle(payment.id)

    await cashier.settle(payment.id)

    stored = await workshop.payments.get(payment.id)
    assert stored.status is PaymentStatus.PROCESSING
    assert stored.check_at is not None


async def test_a_charge_that_the_gateway_has_forgotten_is_not_given_up(workshop: "Workshop", gateway: Halting) -> None:
    payment = await workshop.intent("pm_card_slow")
    cashier = workshop.cashier(gateway)
    await cashier.settle(payment.id)
    await workshop.db.sandbox_charges.delete_one({"_id": payment.id})

    with pytest.raises(GatewayUnavailable):
        await cashier.settle(payment.id)
    assert (await workshop.payments.get(payment.id)).check_at is not None


async def test_a_refund_is_woken_and_done(workshop: "Workshop", gateway: Halting, events: Events) -> None:
    due = await workshop.due()
    cashier = workshop.cashier(gateway)
    async with cashier.settling():
        payment = await cashier.pay(due.id, "pm_card_visa", due.buyer_id, None)
        await cashier.accept(payment.id)
        await events.published(PaymentCaptured)
        await cashier.give_back(payment.id, "sold_out")
        [refunded] = await events.published(PaymentRefunded)

    assert refunded.payment_id == payment.id
    assert await money(workshop) == 0


async def test_a_refund_whose_process_died_before_it_saved_it_is_finished(
    workshop: "Workshop", gateway: Halting, events: Events
) -> None:
    payment = await workshop.captured(gateway)
    cashier = workshop.cashier(gateway)
    await cashier.give_back(payment.id, "sold_out")
    await gateway.refund(payment.id, (await workshop.payments.get(payment.id)).reference)
    [entry] = await workshop.db.sandbox_charges.find({}).to_list()

    await cashier.settle(payment.id)

    [_] = await events.published(PaymentRefunded)
    assert await workshop.db.sandbox_charges.find({}).to_list() == [entry]


async def test_replicas_that_finish_the_same_payment_at_once_finish_it_once(
    workshop: "Workshop", gateway: Halting, events: Events
) -> None:
    payment = await workshop.intent()
    replicas = [workshop.cashier(gateway) for _ in range(4)]

    async def settled_by_all() -> int:
        await asyncio.gather(*(replica.settle(payment.id) for replica in replicas for _ in range(3)))
        return await money(workshop)

    assert await settled_by_all() == 0
    await replicas[0].accept(payment.id)
    assert await settled_by_all() == 700
    await replicas[0].give_back(payment.id, "sold_out")
    assert await settled_by_all() == 0

    for kind in (PaymentAuthorized, PaymentCaptured, PaymentRefunded):
        assert len(await events.published(kind)) == 1


async def test_a_request_that_is_overtaken_by_the_background_work_gives_the_one_answer(
    workshop: "Workshop", gateway: Halting, events: Events
) -> None:
    due = await workshop.due()
    gateway.after = True
    paying = asyncio.create_task(workshop.cashier(gateway).pay(due.id, "pm_card_visa", due.buyer_id, "k"))
    await gateway.reached.wait()
    gateway.after = False
    [payment] = await workshop.payments.made_by(due.buyer_id, None, 10, None)
    await workshop.cashier(gateway).settle(payment.id)
    await workshop.cashier(gateway).accept(payment.id)
    await workshop.cashier(gateway).settle(payment.id)

    gateway.go_on.set()

    assert (await paying).answer is PublicStatus.CAPTURED
    assert len(await events.published(PaymentCaptured)) == 1


async def test_a_webhook_call_that_comes_before_the_answer_wins(workshop: "Workshop", gateway: Halting) -> None:
    due = await workshop.due()
    gateway.after = True
    paying = asyncio.create_task(workshop.cashier(gateway).pay(due.id, "pm_card_duplicate", due.buyer_id, None))
    await gateway.reached.wait()
    [payment] = await workshop.payments.made_by(due.buyer_id, None, 10, None)

    assert await workshop.cashier(gateway).receive_webhook(*signed(f"ch_{payment.id}"))
    gateway.go_on.set()

    assert (await paying).status is PaymentStatus.AUTHORIZED
    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.AUTHORIZED


async def test_money_that_comes_after_a_failure_is_published(
    workshop: "Workshop", gateway: Halting, events: Events
) -> None:
    payment = await workshop.intent()
    await workshop.payments.change(payment, lambda p: p.fail("ch", "card_declined"))
    await gateway.charge(charge_of(payment))
    await gateway.capture(payment.id, f"ch_{payment.id}")

    await workshop.cashier(gateway).receive_webhook(*signed(f"ch_{payment.id}"))

    [failed], [captured] = await events.published(PaymentFailed), await events.published(PaymentCaptured)
    assert captured.payment_version > failed.payment_version


async def test_a_repeated_request_waits_for_the_answer_to_the_first(workshop: "Workshop", gateway: Halting) -> None:
    due = await workshop.due()
    gateway.before = True
    first = asyncio.create_task(
        workshop.cashier(gateway, answer_timeout=600).pay(due.id, "pm_card_declined", due.buyer_id, "k")
    )
    await gateway.reached.wait()
    repeated = asyncio.create_task(
        workshop.cashier(gateway, answer_timeout=600).pay(due.id, "pm_card_declined", due.buyer_id, "k")
    )
    too_early, _ = await asyncio.wait({repeated}, timeout=0.3)

    gateway.go_on.set()

    assert not too_early
    assert (await repeated).id == (await first).id
    assert (await repeated).answer is (await first).answer is PublicStatus.FAILED
    assert await workshop.db.sandbox_charges.count_documents({}) == 1


async def test_a_repeated_request_that_waits_too_long_is_answered_processing_and_so_is_the_first(
    workshop: "Workshop", gateway: Halting
) -> None:
    due = await workshop.due()
    gateway.before = True
    first = asyncio.create_task(workshop.cashier(gateway).pay(due.id, "pm_card_visa", due.buyer_id, "k"))
    await gateway.reached.wait()

    repeated = await workshop.cashier(gateway, answer_timeout=0.1).pay(due.id, "pm_card_visa", due.buyer_id, "k")
    gateway.go_on.set()

    assert repeated.answer is PublicStatus.PROCESSING
    assert (await first).answer is PublicStatus.PROCESSING
    assert (await first).status is PaymentStatus.AUTHORIZED
