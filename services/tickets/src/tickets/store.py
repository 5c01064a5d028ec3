"""Tickets, and the events that they are for, in MongoDB."""

from asyncio import Future
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from pymongo import DESCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError

from common.clock import now
from common.directory import Recipient
from common.errors import StaleWrite
from common.events import ItemKind, ItemListed, ItemState
from common.ids import FindMissed, nothing_missed, once_arrived
from common.leased_work import LeasedWork
from common.mongo.client import WITHOUT_PENDING, Database, Document, look_up, write_unless_there
from common.mongo_records import changes_in, records_in
from common.outbox import Outbox, Relay, retry_stale
from common.records import Record, RecordsQuery
from tickets.domain import Booking, EventNotFound, TicketNotFound

NOT_REVOKED = {"$expr": {"$not": [{"$in": ["$sale.payment_id", "$returned"]}]}}
"""The orders whose money has not gone back."""

LookedUp = Future[Document | None]
"""A document that is on its way."""

MOST_LISTED = 200
"""Orders whose tickets are listed for their holder, the newest."""


class BookingStore:
    """Stores the tickets of each order as one document."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._bookings = db.bookings
        self._find = look_up(db.bookings)
        self._outbox = Outbox(db.bookings, relay)

    async def prepare(self) -> None:
        """Create an index for each query."""
        await self._bookings.create_index([("tickets.holder_id", 1), ("_id", DESCENDING)], name="held")
        await self._bookings.create_index([("sale.item_id", 1), ("number", 1)], name="number")
        await self._bookings.create_index([("sale.item_id", 1), ("_id", DESCENDING)], name="attendees")

    async def find(self, order_id: str) -> Booking | None:
        """The tickets of an order, if there are any."""
        document = await self._find(order_id)
        return Booking.from_document(document) if document else None

    async def get(self, order_id: str) -> Booking:
        """The tickets of an order. Raises `TicketNotFound`."""
        return await self.loaded(self.looked_up(order_id))

    def looked_up(self, order_id: str) -> LookedUp:
        """Begin to look up the tickets of an order."""
        return self._find.put(order_id)

    async def loaded(self, found: LookedUp) -> Booking:
        """The tickets that were looked up. Raises `TicketNotFound`."""
        if document := await found:
            return Booking.from_document(document)
        raise TicketNotFound("there is no such ticket")

    async def held_by(self, user_id: str) -> list[Booking]:
        """The orders of which a user has tickets, the newest first."""
        found = self._bookings.find({"tickets.holder_id": user_id}, WITHOUT_PENDING).sort("_id", DESCENDING)
        return [Booking.from_document(document) for document in await found.limit(MOST_LISTED).to_list()]

    async def with_extras(self, item_id: str) -> list[Booking]:
        """The orders of an event with a ticket that let in somebody who should not have been."""
        extra = [{"tickets.admissions.1": {"$exists": True}}, {"tickets.strays.0": {"$exists": True}}]
        found = self._bookings.find({"sale.item_id": item_id, "$or": extra}, WITHOUT_PENDING)
        return [Booking.from_document(document) async for document in found]

    async def counts(self, item_id: str) -> tuple[int, int]:
        """How many tickets of an event have admitted somebody, and how many are not revoked."""
        live = {"sale.item_id": item_id, **NOT_REVOKED}
        used = {"$filter": {"input": "$tickets", "cond": {"$ne": ["$$this.admissions", []]}}}
        totals = {"_id": None, "used": {"$sum": {"$size": used}}, "live": {"$sum": {"$size": "$tickets"}}}
        async for found in await self._bookings.aggregate([{"$match": live}, {"$group": totals}]):
            return found["used"], found["live"]
        return 0, 0

    async def of_item(self, item_id: str) -> list[Booking]:
        """The orders of an event."""
        found = self._bookings.find({"sale.item_id": item_id}, WITHOUT_PENDING)
        return [Booking.from_document(document) async for document in found]

    async def attending(self, item_id: str, limit: int, cursor: str | None) -> list[Booking]:
        """The orders of an event whose tickets are not revoked, the newest first; with `cursor` those before it."""
        wanted = {"sale.item_id": item_id, **NOT_REVOKED, **({"_id": {"$lt": cursor}} if cursor else {})}
        found = self._bookings.find(wanted, WITHOUT_PENDING).sort("_id", DESCENDING).limit(limit)
        return [Booking.from_document(document) for document in await found.to_list()]

    async def numbered(self, item_id: str, number: str) -> str | None:
        """The order of an event that has this number. None if it is not exactly one."""
        found = await self._bookings.find({"sale.item_id": item_id, "number": number}, {"_id": 1}).limit(2).to_list()
        return found[0]["_id"] if len(found) == 1 else None

    async def recipients(self, request_ids: list[str]) -> dict[str, Recipient]:
        """The addresses of those of these offers that are open."""
        found = dict[str, Recipient]()
        for request_id in request_ids:
            booking = await self.find(request_id.partition("-")[0])
            if booking and (email := booking.recipient(request_id)):
                found[request_id] = Recipient(email=email)
        return found

    async def end_offers_of(self, user_id: str) -> None:
        """Nobody can accept any longer what a user has offered, or was offered."""
        offered = {"tickets": {"$elemMatch": {"holder_id": user_id, "offer": {"$ne": None}}}}
        theirs = {"$or": [offered, {"tickets.offer.recipient_id": user_id}]}
        async for document in self._bookings.find(theirs, {"_id": 1}):
            await self.change(document["_id"], lambda booking: booking.end_offers_of(user_id), command=False)

    async def lapse(self, order_id: str) -> None:
        """Forget the offers of an order's tickets that nobody has accepted in time."""
        await self.change(order_id, lambda booking: booking.lapse(now()), command=False)

    def lapsing(self) -> AbstractAsyncContextManager[None]:
        """Forget, in the background, the offers whose time is over."""
        work = LeasedWork(self._bookings, "lapses_at", self.lapse, poll_seconds=1, first_lease=60, max_lease=3600)
        return work.running()

    async def change(
        self,
        order_id: str,
        decide: Callable[[Booking], None],
        *,
        loaded: Booking | None = None,
        command: bool = True,
    ) -> Booking:
        """Let `decide` change the tickets of an order and save them, as `Outbox.update` does, or `TicketNotFound`."""
        return await self._outbox.update(lambda: self.get(order_id), decide, loaded=loaded, command=command)

    async def record(self, order_id: str, decide: Callable[[Booking], None]) -> None:
        """Let an event that came change the tickets of an order, of which it may be the first news."""

        async def attempt() -> None:
            if known := await self.find(order_id):
                await self._outbox.update(lambda: self.get(order_id), decide, loaded=known, command=False)
                return
            booking = Booking(id=order_id)
            decide(booking)
            try:
                await self._outbox.save(booking)
            except DuplicateKeyError as error:
                raise StaleWrite("there was other news of this order") from error

        await retry_stale(attempt)

    async def records(self, query: RecordsQuery) -> list[Record]:
        """Tickets, for reconciliation."""
        scans = [f"tickets.{kind}.{name}" for kind in ("admissions", "strays") for name in ("gate_id", "device", "seq")]
        named = ("version", "sale.payment_id", "returned", "tickets.unit", "tickets.generation", *scans)
        return await records_in(self._bookings, query, *named)

    async def changes(self, query: RecordsQuery) -> list[Record]:
        """What was written, for reconciliation."""
        return await changes_in(query, bookings=self._bookings)


class EventStore:
    """A copy of the items of items, by which tickets are named: {_id: item, version, kind, title, starts_at, ...}."""

    def __init__(self, db: Database, missed: FindMissed[ItemListed] = nothing_missed) -> None:
        """Listings that no replica has handled are `missed`."""
        self._events = db.events
        self._missed = missed
        self.find = look_up(db.events)

    async def prepare(self) -> None:
        """Create an index for each query."""
        await self._events.create_index([("seller_id", 1), ("kind", 1)], name="sold_by")

    async def keep(self, item: ItemState) -> None:
        """Store an item, unless a newer version is known."""
        state = item.model_dump(exclude={"item_id", "description", "price", "currency", "pictures", "restated"})
        state["version"] = state.pop("item_version")
        older = {"_id": item.item_id, "version": {"$lt": item.item_version}}
        # If a newer version is there, the guard does not match, and the index refuses a second document.
        await write_unless_there(self._events, UpdateOne(older, {"$set": state}, upsert=True))

    async def event(self, item_id: str) -> Document:
        """An item that is an event. Raises `EventNotFound`, or `Unavailable` if its news may still be on the way."""
        item = await once_arrived(self.find, item_id, self._missed, self.keep)
        if item is None or item["kind"] != ItemKind.EVENT:
            raise EventNotFound("there is no such event")
        return item

    async def sold_by(self, user_id: str) -> list[str]:
        """The ids of the events of a seller."""
        found = self._events.find({"seller_id": user_id, "kind": ItemKind.EVENT}, {"_id": 1})
        return [event["_id"] async for event in found]

    async def of(self, item_ids: list[str]) -> dict[str, Document]:
        """Several of them, by id."""
        return {event["_id"]: event async for event in self._events.find({"_id": {"$in": item_ids}})}


class PersonStore:
    """The names of those whom a ticket was transferred to, as they were then: {_id: user, name}."""

    def __init__(self, db: Database) -> None:
        self._people = db.people

    async def keep(self, user_id: str, name: str) -> None:
        """Store the name of a user."""
        await self._people.update_one({"_id": user_id}, {"$set": {"name": name}}, upsert=True)

    async def names(self, user_ids: list[str]) -> dict[str, str]:
        """The names that are known, by user."""
        return {person["_id"]: person["name"] async for person in self._people.find({"_id": {"$in": user_ids}})}

    async def forget(self, user_id: str) -> None:
        """Remove the name of a user."""
        await self._people.delete_one({"_id": user_id})
