"""Requests in MongoDB."""

from collections.abc import Callable
from datetime import UTC, datetime

from auth.recovery.domain import Request
from common.directory import AddressChange
from common.mongo.client import WITHOUT_PENDING, Database
from common.outbox import Outbox, Relay

FORGOTTEN_SECONDS = 24 * 3600
"""How long a request is kept after its time."""


class RequestStore:
    """Keeps requests. MongoDB itself deletes those whose time is long over and whose events are published."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._requests = db.requests
        self._outbox = Outbox(db.requests, relay)

    async def prepare(self) -> None:
        """Make the index that removes old requests."""
        await self._requests.create_index(
            "expires_at",
            name="forgotten",
            expireAfterSeconds=FORGOTTEN_SECONDS,
            partialFilterExpression={"pending": []},
        )

        await self._requests.create_index(
            "email", name="can_be_taken_back", partialFilterExpression={"undo_until": {"$exists": True}}
        )

    async def is_reserved(self, email: str, user_id: str, now: datetime) -> bool:
        """Whether another account, which had this address, can still take it back."""
        reserved = {"email": email.lower(), "undo_until": {"$gt": now}, "user_id": {"$ne": user_id}}
        return await self._requests.find_one(reserved, {"_id": 1}) is not None

    async def save(self, request: Request) -> None:
        """Save a new request. Raises `Unavailable` when too many events wait for the bus."""
        self._outbox.relay.check_room()
        await self._outbox.save(request)

    async def get(self, request_id: str) -> Request | None:
        """The request with this id; None if there is none."""
        document = await self._requests.find_one({"_id": request_id}, WITHOUT_PENDING)
        return Request.from_document(document) if document else None

    async def change(self, request: Request, decide: Callable[[Request], None]) -> None:
        """Let `decide` change a request, and save it."""
        await self._outbox.change(request, decide)

    async def undone(self, user_id: str, version: int) -> None:
        """This change and those after it are taken back: nobody takes any of them back again.

        Those after it may be of somebody who had taken the account over, and has their links.
        """
        theirs = {"user_id": user_id, "made_version": {"$gte": version}}
        await self._requests.update_many(theirs, {"$unset": {"undo_until": ""}, "$inc": {"version": 1}})

    async def address_changes(self, request_ids: list[str]) -> dict[str, AddressChange]:
        """The addresses of those requests that are for another address, by id."""
        wanted = {"_id": {"$in": request_ids}, "new_email": {"$exists": True}}
        found = self._requests.find(wanted, {"email": 1, "new_email": 1})
        return {one["_id"]: AddressChange(**one) async for one in found}

    async def addresses_of(self, user_id: str) -> set[str]:
        """The addresses in the requests of a user."""
        found = self._requests.find({"user_id": user_id}, {"_id": 0, "email": 1, "new_email": 1})
        return {address async for one in found for address in one.values()}

    async def forget(self, user_id: str, email: str) -> None:
        """Nobody can tell any more whose the requests of a user were, or those for their address or to it."""
        theirs = {"$or": [{"user_id": user_id}, {"email": email}, {"new_email": email}]}
        nobody = {"email": user_id, "used_at": datetime.now(UTC)}
        gone = {"new_email": "", "undo_until": ""}
        await self._requests.update_many(theirs, {"$set": nobody, "$unset": gone, "$inc": {"version": 1}})
