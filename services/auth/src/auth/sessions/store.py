"""Sessions in MongoDB."""

from collections.abc import Callable
from datetime import datetime

from auth.sessions.domain import Session
from common.mongo.client import WITHOUT_PENDING, Database, Document
from common.outbox import Outbox, Relay

LISTED = 100
"""Sessions that a list has at most."""

FORGOTTEN_SECONDS = 24 * 3600
"""How long a session is kept after its time."""


class SessionStore:
    """Keeps sessions. MongoDB itself deletes those whose time is long over and whose events are published."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._sessions = db.sessions
        self._outbox = Outbox(db.sessions, relay)
        self._keys = db.keys

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._sessions.create_index("family_hash", name="family", unique=True)
        await self._sessions.create_index([("user_id", 1), ("last_seen", -1)], name="user")
        await self._sessions.create_index(
            "expires_at",
            name="forgotten",
            expireAfterSeconds=FORGOTTEN_SECONDS,
            partialFilterExpression={"pending": []},
        )

    async def is_new_key(self, kid: str) -> bool:
        """Whether sessions were signed with another key before. Says so once."""
        before = await self._keys.find_one_and_update({"_id": "signing"}, {"$set": {"kid": kid}}, upsert=True)
        return before is not None and before["kid"] != kid

    async def save(self, session: Session) -> None:
        """Save a new session."""
        await self._outbox.save(session)

    async def find(self, family_hash: str) -> Session | None:
        """The session whose refresh tokens have this family; None if there is none."""
        document = await self._sessions.find_one({"family_hash": family_hash}, WITHOUT_PENDING)
        return Session.from_document(document) if document else None

    async def running(self, user_id: str, now: datetime, before: int | None = None) -> list[Session]:
        """The sessions of a user that are not over, the one seen last first, at most `LISTED`.

        With `before`, only those of older passwords than this version.
        """
        wanted: Document = {"user_id": user_id, "ended_at": None, "expires_at": {"$gt": now}}
        if before is not None:
            wanted["password_version"] = {"$not": {"$gte": before}}  # So it is also where there is no version yet.
        found = self._sessions.find(wanted, WITHOUT_PENDING).sort("last_seen", -1).limit(LISTED)
        return [Session.from_document(document) async for document in found]

    async def get(self, session_id: str) -> Session | None:
        """The session with this id; None if there is none."""
        document = await self._sessions.find_one({"_id": session_id}, WITHOUT_PENDING)
        return Session.from_document(document) if document else None

    async def change(self, session: Session, decide: Callable[[Session], None]) -> Session:
        """Let `decide` change a session, and save it, however many events wait for the bus. Raises `StaleWrite`."""
        return await self._outbox.change(session, decide, command=False)

    async def forget(self, user_id: str) -> None:
        """Keep of the sessions of a user neither device nor network."""
        nothing = {"device": "", "address": ""}
        await self._sessions.update_many({"user_id": user_id}, {"$set": nothing, "$inc": {"version": 1}})
