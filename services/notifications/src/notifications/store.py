"""People, mails and sales in MongoDB."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pymongo import ReturnDocument, UpdateOne
from pymongo.collation import Collation

from common.directory import Contact, Directory
from common.events import OrderState
from common.mongo.client import Database, Document, write_unless_there
from notifications.domain import Mail, MailState, Person

ANY_CASE = Collation(locale="en", strength=2)
"""Compares addresses in any case."""

LIVING = {"erased": {"$exists": False}}
"""People who have not deleted their account."""

KEPT = timedelta(days=30)
"""How long a mail that was sent or has failed is kept, and a sale."""


class PersonStore:
    """A copy of whom auth knows: name, language and newest address. Of an erased person only that they are erased."""

    def __init__(self, db: Database, directory: Directory | None = None) -> None:
        """With a `directory`, whoever is not known here is asked for there."""
        self._people = db.people
        self._directory = directory

    async def find(self, user_id: str, email_version: int = 1) -> Person | None:
        """The person, with no older address than this. None if neither this copy nor auth knows them yet."""
        person = await self.known(user_id)
        if (person is None or person.email_version < email_version) and self._directory:
            contact = await self._directory.contact(user_id)
            if contact:
                await self.keep_contact(user_id, contact)
                person = Person(**contact.model_dump(), id=user_id)
        return person if person and person.email_version >= email_version else None

    async def known(self, user_id: str) -> Person | None:
        """The person as this copy has them."""
        document = await self._people.find_one({"_id": user_id, "name": {"$exists": True}})
        return Person(**document, id=user_id) if document else None

    async def keep(self, user_id: str, email: str, version: int, **more: str) -> None:
        """Store the address unless a newer one is known, and what does not change."""
        known = {"$ifNull": ["$email_version", 0]}
        address = {"$cond": [{"$gte": [version, known]}, {"$literal": email}, "$email"]}
        fixed = {name: {"$literal": value} for name, value in more.items()}
        state = {**fixed, "email": address, "email_version": {"$max": [version, known]}}
        # Somebody who is erased does not match, and the index refuses a second document.
        await write_unless_there(self._people, UpdateOne({"_id": user_id, **LIVING}, [{"$set": state}], upsert=True))

    async def keep_contact(self, user_id: str, contact: Contact) -> None:
        """Store what auth says."""
        await self.keep(user_id, contact.email, contact.email_version, name=contact.name, language=contact.language)

    async def forget(self, user_id: str) -> None:
        """Remember only that they are erased, whatever comes later."""
        await self._people.replace_one({"_id": user_id}, {"erased": True}, upsert=True)

    async def is_erased(self, user_id: str) -> bool:
        """Whether they have deleted their account."""
        return await self._people.find_one({"_id": user_id, "erased": True}, {"_id": 1}) is not None


class MailStore:
    """Mails. One that is to be sent has a time in its field `due`."""

    def __init__(self, db: Database) -> None:
        self.mails = db.mails

    async def prepare(self) -> None:
        """Create the indexes."""
        await self.mails.create_index("ended_at", name="ended_at", expireAfterSeconds=int(KEPT.total_seconds()))
        await self.mails.create_index([("state", 1), ("ended_at", -1)], name="state")
        await self.mails.create_index([("user_id", 1), ("created_at", -1)], name="user")
        await self.mails.create_index("to", name="to", collation=ANY_CASE)

    async def add(self, mail: Mail, now: datetime, due: datetime | None = None) -> None:
        """Store a mail that is due now, unless told otherwise. One that is known stays as it is."""
        stored = mail.model_dump(exclude={"id"}) | {"created_at": now, "due": due or now}
        await self.mails.update_one({"_id": mail.id}, {"$setOnInsert": stored}, upsert=True)

    async def get(self, mail_id: str) -> Mail | None:
        """The mail with this id; None if it is forgotten."""
        document = await self.mails.find_one({"_id": mail_id})
        return Mail.model_validate({**document, "id": mail_id}) if document else None

    async def ended(self, mail_id: str, state: MailState, now: datetime, reason: str = "") -> None:
        """The mail was sent, or never will be, for a reason."""
        change = {"$set": {"state": state, "ended_at": now, "reason": reason}, "$unset": {"due": ""}}
        await self.mails.update_one({"_id": mail_id}, change)

    async def forget(self, user_id: str, email: str | None = None) -> None:
        """Remove the mails to a user or to their address, sent or not, whoever asked for them."""
        await self.mails.delete_many({"user_id": user_id})
        if email:
            await self.mails.delete_many({"to": email}, collation=ANY_CASE)

    async def drop(self, mail_id: str) -> None:
        """Remove a mail that nobody needs any more."""
        await self.mails.delete_one({"_id": mail_id})

    async def to(self, user_id: str, limit: int, before: str | None = None) -> list[Document]:
        """The newest mails to a user, the newest first; with `before`, those older than that."""
        wanted: Document = {"user_id": user_id}
        if before:
            last = await self.mails.find_one({"_id": before, **wanted}, {"created_at": 1})
            if last is None:
                return []
            at = last["created_at"]
            wanted["$or"] = [{"created_at": {"$lt": at}}, {"created_at": at, "_id": {"$lt": before}}]
        found = self.mails.find(wanted).sort([("created_at", -1), ("_id", -1)]).limit(limit)
        return await found.to_list()

    async def failed(self, limit: int) -> list[Document]:
        """The mails that failed last, the newest first."""
        fields = ("kind", "user_id", "reason", "created_at", "ended_at")
        return await self.mails.find({"state": MailState.FAILED}, fields).sort("ended_at", -1).limit(limit).to_list()


class SaleStore:
    """What sellers have sold, by day: for the digests."""

    def __init__(self, db: Database) -> None:
        self._sales = db.sales

    async def prepare(self) -> None:
        """Create the indexes."""
        await self._sales.create_index("at", name="at", expireAfterSeconds=int(KEPT.total_seconds()))
        await self._sales.create_index([("seller_id", 1), ("day", 1)], name="day")

    async def add(self, order: OrderState, now: datetime) -> str:
        """Store a sale. Return the day (UTC) that it belongs to: that of the first time it was stored."""
        sold = order.model_dump(include={"seller_id", "item_id", "item_title", "quantity", "unit_price", "currency"})
        stored = await self._sales.find_one_and_update(
            {"_id": order.order_id},
            {"$setOnInsert": {**sold, "at": now, "day": now.date().isoformat()}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return str((stored or {})["day"])

    async def of_day(self, seller_id: str, day: str) -> list[Mapping[str, Any]]:
        """What a seller sold in a day: for each item and currency the title, orders, units and money."""
        money = {"$multiply": ["$quantity", "$unit_price"]}
        totals = {
            "_id": {"item": "$item_id", "currency": "$currency"},
            "title": {"$last": "$item_title"},
            "orders": {"$sum": 1},
            "quantity": {"$sum": "$quantity"},
            "total": {"$sum": money},
        }
        found = await self._sales.aggregate(
            [{"$match": {"seller_id": seller_id, "day": day}}, {"$group": totals}, {"$sort": {"total": -1, "_id": 1}}]
        )
        return [{**line, "currency": line["_id"]["currency"]} async for line in found]
