"""What Stripe's own lists say is heard, whatever became of the webhook calls. Against a small Stripe of ours."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from stripe import Dispute, PaymentIntent, Refund, StripeClient

from common.events import PaymentDisputed, PaymentPartlyRefunded, PaymentRefunded, PaymentRefundFailed, ProviderCalled
from common.ids import new_id
from common.mongo.client import Database
from common.records import RecordsQuery
from infra.servers.process import free_port
from payments.domain import Payment
from payments.gateways import stripe_ledger
from payments.gateways.port import ChargeRecord, ChargesUnlisted, Hear
from payments.gateways.stripe import StripeGateway
from payments.gateways.stripe_ledger import StripeLedger
from payments.records import show_charges
from payments.refunds import REFUNDED_BY_PROVIDER
from payments.status import PaymentStatus
from services.payments.tests.stripe_fake import SECRET_KEY, WEBHOOK_SECRET, FakeStripe, Json
from tests.support.bus import Events
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve, Workshop

Open = Callable[[float], AbstractAsyncContextManager[StripeGateway]]

DAY = 86_400
LISTS = ("charges", "refunds", "disputes", "events")


@pytest.fixture
def stripe() -> FakeStripe:
    return FakeStripe()


@pytest_asyncio.fixture
async def opened(stripe: FakeStripe, serve: "Serve", db: Database) -> AsyncIterator[Open]:
    """Opens the gateway, as one replica or as several, each reading the lists every so many seconds."""
    port = free_port()

    def opened(seconds: float = 0.05) -> AbstractAsyncContextManager[StripeGateway]:
        return StripeGateway.open(SECRET_KEY, WEBHOOK_SECRET, f"http://127.0.0.1:{port}", db, list_seconds=seconds)

    async with serve(stripe.app, port):
        yield opened


async def paid(workshop: "Workshop", gateway: StripeGateway) -> Payment:
    """A payment whose money is here."""
    payment, cashier = await workshop.intent(), workshop.cashier(gateway)
    await cashier.settle(payment.id)
    await cashier.accept(payment.id)
    await cashier.settle(payment.id)
    payment = await workshop.payments.get(payment.id)
    assert payment.status is PaymentStatus.CAPTURED
    return payment


def noting(heard: list[str], workshop: "Workshop", gateway: StripeGateway) -> Hear:
    """Hears as payments does, and notes what."""

    async def hear(reference: str) -> None:
        heard.append(reference)
        await workshop.cashier(gateway).hear(reference)

    return hear


async def becomes(workshop: "Workshop", payment: Payment, status: PaymentStatus) -> Payment:
    """The payment, once it has this status."""

    async def there() -> Payment:
        found = await workshop.payments.get(payment.id)
        assert found.status is status
        return found

    return await eventually(there)


def reads(stripe: FakeStripe) -> Counter[str]:
    """How often each list was read."""
    return Counter(call.rpartition("/")[2] for call in stripe.calls if call.rpartition("/")[2] in LISTS)


async def complete(gateway: StripeGateway) -> list[ChargeRecord]:
    """The charges that the gateway lists, once it has read all lists."""

    async def listed() -> list[list[ChargeRecord]] | None:
        try:
            return [await gateway.charges("", 100, None)]
        except ChargesUnlisted:
            return None

    [charges] = await eventually(listed)
    return charges


def long_ago(thing: Json, seconds: int = 5 * DAY) -> None:
    """It was created before the lists are read."""
    thing["created"] -= seconds


async def test_a_refund_of_which_no_webhook_call_told_is_found(
    workshop: "Workshop", stripe: FakeStripe, opened: Open, events: Events
) -> None:
    async with opened(0.05) as gateway:
        payment = await paid(workshop, gateway)
        stripe.refund_by_hand(payment.reference)

        async with gateway.watching(workshop.cashier(gateway).hear, time.time()):
            refunded = await becomes(workshop, payment, PaymentStatus.REFUNDED)

    assert refunded.reason == REFUNDED_BY_PROVIDER
    assert len(await events.published(PaymentRefunded)) == 1


async def test_a_part_that_went_back_and_of_which_no_webhook_call_told_is_found_and_listed(
    workshop: "Workshop", stripe: FakeStripe, opened: Open, events: Events
) -> None:
    async with opened(0.05) as gateway:
        payment = await paid(workshop, gateway)
        stripe.refund_by_hand(payment.reference, 300)

        async with gateway.watching(workshop.cashier(gateway).hear, time.time()):
            [part] = await events.published(PaymentPartlyRefunded)
            [charge] = await complete(gateway)

    assert part.refunded_amount == 300
    assert charge == ChargeRecord(payment.id, 700, "EUR", captured=True, refunded=False, refunded_amount=300)


async def test_a_refund_and_a_dispute_of_long_ago_that_change_are_found(
    workshop: "Workshop", stripe: FakeStripe, opened: Open, events: Events
) -> None:
    async with opened(0.05) as gateway:
        cashier = workshop.cashier(gateway)
        refunded, disputed = await paid(workshop, gateway), await paid(workshop, gateway)
        await cashier.give_back(refunded.id, "requested_by_seller")
        await cashier.settle(refunded.id)
        dispute = stripe.dispute(disputed.reference)
        for thing in (*stripe.charges.values(), *stripe.refunds.values(), *stripe.disputes.values(), *stripe.news):
            long_ago(thing)

        async with gateway.watching(cashier.hear, time.time()):
            await complete(gateway)
            stripe.fail_refund(refunded.reference)
            stripe.decide(dispute, "lost")
            failed = await becomes(workshop, refunded, PaymentStatus.REFUND_FAILED)
            lost = await becomes(workshop, disputed, PaymentStatus.DISPUTED)

    assert failed.reason == "expired_or_canceled_card"
    assert lost.dispute == "lost"
    assert len(await events.published(PaymentRefundFailed)) == 1
    assert [event.dispute for event in await events.published(PaymentDisputed)] == ["lost"]


async def test_what_is_read_again_is_not_heard_again(
    workshop: "Workshop", stripe: FakeStripe, opened: Open, events: Events
) -> None:
    heard: list[str] = []
    async with opened(0.05) as gateway:
        known, news = await paid(workshop, gateway), await paid(workshop, gateway)
        stripe.refund_by_hand(news.reference)

        async def often() -> bool:
            return all(reads(stripe)[name] >= 5 for name in LISTS)

        stripe.calls.clear()
        async with gateway.watching(noting(heard, workshop, gateway), time.time()):
            await eventually(often)

    assert heard == [news.reference]
    calls = [call for call in await events.published(ProviderCalled, 5) if call.payment_id == known.id]
    assert [call.operation for call in calls] == ["charge", "capture"]


async def test_of_two_replicas_one_reads_a_list(workshop: "Workshop", stripe: FakeStripe, opened: Open) -> None:
    async with AsyncExitStack() as replicas:
        for _ in range(2):
            gateway = await replicas.enter_async_context(opened(600))
            await replicas.enter_async_context(gateway.watching(workshop.cashier(gateway).hear, time.time()))
        await complete(gateway)

    assert reads(stripe) == dict.fromkeys(LISTS, 1)


@pytest.mark.parametrize("has_read", [False, True])
async def test_a_replica_that_dies_before_the_payment_follows_is_followed_by_another(
    workshop: "Workshop", stripe: FakeStripe, opened: Open, db: Database, *, has_read: bool
) -> None:
    async with opened(0.05) as gateway:
        payment = await paid(workshop, gateway)
        stripe.refund_by_hand(payment.reference)

        async def die(reference: str) -> None:
            if has_read:
                assert await gateway.retrieve(reference)
            raise asyncio.CancelledError

        async with gateway.watching(die, time.time()):
            await eventually(lambda: db.stripe_lists.find_one({"_id": "refunds", "tries": {"$gte": 1}}))
        await db.stripe_lists.update_many({}, {"$currentDate": {"read_at": True}})  # The lease is over.
        async with gateway.watching(workshop.cashier(gateway).hear, time.time()):
            await becomes(workshop, payment, PaymentStatus.REFUNDED)


async def test_what_is_new_of_a_charge_whose_marks_were_never_kept_is_heard(
    workshop: "Workshop", stripe: FakeStripe, opened: Open, db: Database
) -> None:
    async with opened(0.05) as gateway:
        payment = await paid(workshop, gateway)
        await db.stripe_charges.update_one({"_id": payment.id}, {"$unset": {"seen": ""}})
        stripe.refund_by_hand(payment.reference)

        async with gateway.watching(workshop.cashier(gateway).hear, time.time()):
            await becomes(workshop, payment, PaymentStatus.REFUNDED)


async def test_a_charge_that_cannot_be_read_keeps_no_other_from_being_heard_and_is_read_later(
    workshop: "Workshop", stripe: FakeStripe, opened: Open, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_ledger, "READ_AGAIN", timedelta(0), raising=False)
    async with opened(0.05) as gateway:
        broken, healthy = await paid(workshop, gateway), await paid(workshop, gateway)
        for payment in (broken, healthy):
            stripe.refund_by_hand(payment.reference)
        readable = asyncio.Event()

        async def hear(reference: str) -> None:
            if reference == broken.reference and not readable.is_set():
                raise ValueError("Stripe says something that nobody expected")
            await workshop.cashier(gateway).hear(reference)

        async def all_lists_are_read() -> bool:
            # No lease lasts.
            await db.stripe_lists.update_many({"tries": {"$gte": 1}}, {"$currentDate": {"read_at": True}})
            return await db.stripe_lists.count_documents({"complete": True}) == len(LISTS)

        async with gateway.watching(hear, time.time()):
            await eventually(all_lists_are_read)
            assert (await workshop.payments.get(healthy.id)).status is PaymentStatus.REFUNDED
            assert (await workshop.payments.get(broken.id)).status is PaymentStatus.CAPTURED
            assert await db.stripe_lists.find_one({"_id": broken.reference})

            readable.set()
            await db.stripe_lists.update_many({}, {"$currentDate": {"read_at": True}})
            await becomes(workshop, broken, PaymentStatus.REFUNDED)
            await eventually(lambda: none_set_aside(db))


async def none_set_aside(db: Database) -> bool:
    return await db.stripe_lists.count_documents({}) == len(LISTS)


async def test_a_long_history_is_read_day_by_day_and_page_by_page(
    workshop: "Workshop", stripe: FakeStripe, opened: Open
) -> None:
    stripe.page_size = 2
    heard: list[str] = []
    async with opened(600) as gateway:
        payments = [await paid(workshop, gateway) for _ in range(5)]
        for charge in stripe.charges.values():
            long_ago(charge, 2 * DAY)
        await workshop.db.stripe_charges.delete_many({})

        with pytest.raises(ChargesUnlisted):
            await gateway.charges("", 100, None)
        async with gateway.watching(noting(heard, workshop, gateway), time.time() - 3 * DAY):
            charges = await complete(gateway)

    assert reads(stripe)["disputes"] >= 3  # rounds, each of a day
    assert sorted(heard) == sorted(payment.reference for payment in payments)
    assert [charge.payment_id for charge in charges] == sorted(payment.id for payment in payments)


async def test_the_list_says_where_the_money_is_as_stripe_sees_it(
    workshop: "Workshop", stripe: FakeStripe, opened: Open
) -> None:
    async with opened(600) as gateway:
        cashier = workshop.cashier(gateway)
        kept, returned, disputed = [await paid(workshop, gateway) for _ in range(3)]
        await cashier.give_back(returned.id, "sold_out")
        await cashier.settle(returned.id)
        stripe.dispute(disputed.reference)
        async with gateway.watching(cashier.hear, time.time()):
            charges = {charge.payment_id: charge for charge in await complete(gateway)}
        some = await gateway.charges(kept.id, 100, [kept.id, returned.id])
        shown = await show_charges(RecordsQuery(ids=[disputed.id]), cashier)

    assert charges[kept.id] == ChargeRecord(kept.id, 700, "EUR", captured=True, refunded=False)
    back = ChargeRecord(returned.id, 700, "EUR", captured=True, refunded=True, refunded_amount=700)
    assert charges[returned.id] == back
    assert charges[disputed.id] == ChargeRecord(disputed.id, 700, "EUR", captured=True, refunded=False, disputed=True)
    assert some == [charges[returned.id]]
    assert shown == [charges[disputed.id].as_dict()]


async def test_what_was_read_earlier_and_is_stored_later_changes_nothing(db: Database) -> None:
    ledger = StripeLedger(StripeClient(SECRET_KEY), db, 60)
    payment_id = new_id()
    intent = PaymentIntent.construct_from(
        {
            "id": "pi_1",
            "amount_received": 900,
            "currency": "eur",
            "latest_charge": "ch_1",
            "metadata": {"payment_id": payment_id},
        },
        None,
    )

    def refund(number: int, status: str) -> Refund:
        fields = {"id": f"re_{number}", "object": "refund", "amount": 900, "status": status, "failure_reason": "lost"}
        return Refund.construct_from(fields, None)

    def dispute(status: str, opened_at: int) -> Dispute:
        fields = {"id": "dp_1", "object": "dispute", "status": status, "reason": "fraudulent", "created": opened_at}
        return Dispute.construct_from(fields, None)

    await ledger.keep(intent, [refund(2, "succeeded"), refund(1, "failed")], [dispute("won", 10)])
    await ledger.keep(intent, [refund(1, "failed")], [dispute("needs_response", 10)])
    await ledger.keep(intent, [refund(1, "succeeded")])
    await ledger.keep(intent)
    await db.stripe_lists.insert_many([{"_id": name, "complete": True} for name in LISTS])

    [charge] = await ledger.charges("", 10, None)

    assert charge == ChargeRecord(payment_id, 900, "EUR", captured=True, refunded=True, refunded_amount=900)
