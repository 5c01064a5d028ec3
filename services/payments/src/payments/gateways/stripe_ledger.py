"""A copy of Stripe's own lists in MongoDB: what Stripe says of the money, whatever became of the webhook calls.

Charges, refunds and disputes are listed by the time they were created, and so are the events that report what became of
older ones. Whatever a list shows that the copy does not have yet is news about a charge. The charge is then read again,
as after a webhook call, and that brings both the payment and the copy up to date.
"""

import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from prometheus_client import Gauge
from stripe import Dispute as StripeDispute
from stripe import Event, ListObject, PaymentIntent, StripeClient
from stripe import Refund as StripeRefund

from common.events import DisputeStatus
from common.leased_work import LeasedWork
from common.metrics import sampled
from common.mongo.client import Database, Document
from payments.gateways.ledger_errors import away_is_unavailable
from payments.gateways.port import ChargeRecord, ChargesUnlisted, Hear
from payments.gateways.stripe_objects import EVENTS, intent_named_by, mark_of, newest_dispute, sum_of_refunds

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=10)
"""How much of what was read is read again: Stripe's clock is not ours, and a list may lag."""

WINDOW = timedelta(days=1)
"""How much of a list is read in one round."""

PATIENCE = 3
"""How often a list that shows a charge that cannot be read is read again from there, before it goes on without it."""

READ_AGAIN = timedelta(minutes=1)
"""How long after it was set aside a charge is read again. The delay doubles with each further time."""

UNREAD = Gauge("souk_stripe_charges_unread", "Charges in Stripe's lists that could not be read")

List = Callable[[Any], Awaitable[ListObject[Any]]]


class StripeLedger:
    """Captured charges by payment id."""

    def __init__(self, client: StripeClient, db: Database, seconds: float) -> None:
        """The lists are read every so many `seconds`."""
        self._lists: Mapping[str, List] = {
            "charges": client.v1.charges.list_async,
            "refunds": client.v1.refunds.list_async,
            "disputes": client.v1.disputes.list_async,
            "events": partial(_events, client),
        }
        self._charges = db.stripe_charges
        self.collection = self._charges.name
        self._cursors = db.stripe_lists
        self._seconds = seconds

    @asynccontextmanager
    async def watching(self, hear: Hear, since: float) -> AsyncIterator[None]:
        """In the background, read the lists from the time `since` on, each in one replica at a time."""

        async def read(name: str) -> None:
            if name in self._lists:
                await self._read(name, hear)
            else:
                await self._read_again(name, hear)

        await self._charges.create_index("reference")
        for name in self._lists:
            first = {"upto": int(since), "read_at": datetime.now(UTC)}
            await self._cursors.update_one({"_id": name}, {"$setOnInsert": first}, upsert=True)
        work = LeasedWork(
            self._cursors, "read_at", read, poll_seconds=min(self._seconds, 5), first_lease=60, max_lease=600
        )
        async with work.running(), sampled(self._count_unread):
            yield

    async def keep(
        self,
        intent: PaymentIntent,
        refunds: Sequence[StripeRefund] = (),
        disputes: Sequence[StripeDispute] = (),
        *,
        marks: Sequence[str] = (),
    ) -> None:
        """Store what was read about a captured charge, and which `marks` of it are no news.

        What was read later may be stored earlier: it stays.
        """
        back, dispute = sum_of_refunds(refunds, intent.amount_received), newest_dispute(disputes)
        grows: dict[str, list[object]] = {"refunds": [back.failures, back.returned]}
        grows["refunded"] = [back.failures, back.amount]
        if dispute:
            grows["dispute"] = [dispute.opened_at, dispute.status is not DisputeStatus.OPEN, dispute.status]
        once = {"reference": intent.id, "amount": intent.amount_received, "currency": intent.currency.upper()}
        change = {"$setOnInsert": once, "$max": grows, "$addToSet": {"seen": {"$each": list(marks)}}}
        with away_is_unavailable():
            await self._charges.update_one({"_id": intent.metadata["payment_id"]}, change, upsert=True)

    async def remember(self, payment_id: str, marks: Sequence[str]) -> None:
        """The lists show nothing new by these marks: the payment is as they say."""
        with away_is_unavailable():
            await self._charges.update_one({"_id": payment_id}, {"$addToSet": {"seen": {"$each": list(marks)}}})

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[ChargeRecord]:
        """Charges by ascending payment id. Raises `ChargesUnlisted` until all lists were read for the first time."""
        wanted: Document = {"$gt": after} if ids is None else {"$gt": after, "$in": list(ids)}
        with away_is_unavailable():
            if await self._cursors.count_documents({"complete": True}) < len(self._lists):
                raise ChargesUnlisted("the charges at Stripe are being read for the first time")
            found = await self._charges.find({"_id": wanted}).sort("_id", 1).limit(limit).to_list()
        return [_record(document) for document in found]

    async def _read(self, name: str, hear: Hear) -> None:
        """Read what a list has gained, and a little more, up to now or for one window."""
        cursor = await self._cursors.find_one({"_id": name}) or {}
        now = int(time.time())
        upto = min(now, cursor["upto"] + int(WINDOW.total_seconds()))
        created = {"gte": cursor["upto"] - int(OVERLAP.total_seconds()), "lte": upto}
        page = await self._lists[name]({"created": created, "limit": 100})
        while not page.is_empty:
            await self._compare(page.data, hear, patient=cursor.get("tries", 0) <= PATIENCE)
            page = await page.next_page_async()
        change: Document = {"upto": upto, "tries": 0, "read_at": datetime.now(UTC)}
        if upto == now:
            change |= {"complete": True, "read_at": datetime.now(UTC) + timedelta(seconds=self._seconds)}
        await self._cursors.update_one({"_id": name, "upto": cursor["upto"]}, {"$set": change})

    async def _compare(self, things: Sequence[Any], hear: Hear, *, patient: bool) -> None:
        """Let the news among some listed things be heard, and remember them.

        Unless `patient`, a charge that cannot be read is set aside: one must not keep all the others from being heard.
        """
        marks: dict[str, set[str]] = defaultdict(set)
        for thing in things:
            about = thing.data.object if thing.object == "event" else thing
            if (reference := intent_named_by(about)) and (mark := mark_of(about)):
                marks[reference].add(mark)
        known = self._charges.find({"reference": {"$in": list(marks)}}, {"reference": 1, "seen": 1})
        seen = {document["reference"]: set(document.get("seen", ())) for document in await known.to_list()}
        aside = {document["_id"] async for document in self._cursors.find({"_id": {"$in": list(marks)}}, {"_id": 1})}
        for reference, shown in marks.items():
            if reference not in aside and shown - seen.get(reference, set()):
                try:
                    await hear(reference)
                except Exception as error:
                    if patient:
                        raise
                    await self._set_aside(reference, error)
                    continue
                remember = {"$addToSet": {"seen": {"$each": sorted(shown)}}}
                await self._charges.update_one({"reference": reference}, remember)

    async def _set_aside(self, reference: str, error: Exception) -> None:
        log.error("cannot read %s, which Stripe lists; it is set aside: %s: %s", reference, type(error).__name__, error)
        first = {"read_at": datetime.now(UTC) + READ_AGAIN}
        await self._cursors.update_one({"_id": reference}, {"$setOnInsert": first}, upsert=True)

    async def _read_again(self, reference: str, hear: Hear) -> None:
        """Hear of a charge that was set aside. While that fails, it stays so."""
        await hear(reference)
        await self._cursors.delete_one({"_id": reference})
        log.info("%s is read now", reference)

    async def _count_unread(self) -> None:
        UNREAD.set(await self._cursors.count_documents({"_id": {"$nin": list(self._lists)}}))


async def _events(client: StripeClient, params: Any) -> ListObject[Event]:
    wanted: Any = {**params, "types": list(EVENTS)}
    return await client.v1.events.list_async(wanted)


def _record(document: Document) -> ChargeRecord:
    _, returned = document["refunds"]
    _, amount = document.get("refunded") or (0, 0)  # Of a revision before.
    dispute = document.get("dispute")
    return ChargeRecord(
        payment_id=document["_id"],
        amount=document["amount"],
        currency=document["currency"],
        captured=True,
        refunded=returned,
        disputed=dispute is not None and dispute[-1] != DisputeStatus.WON,
        refunded_amount=document["amount"] if returned else amount,
    )
