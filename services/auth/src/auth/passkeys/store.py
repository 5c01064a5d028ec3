"""Keyrings in MongoDB, and which challenges were used."""

from collections.abc import Callable, Sequence
from datetime import datetime

from pymongo import InsertOne
from pymongo.errors import DuplicateKeyError

from auth.passkeys.domain import Keyring, PasskeyKnown
from common.mongo.client import WITHOUT_PENDING, Database, write_unless_there
from common.outbox import Outbox, Relay


class KeyringStore:
    """Keeps keyrings; a unique index decides whose a passkey is."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._keyrings = db.keyrings
        self._used = db.used_challenges
        self._outbox = Outbox(db.keyrings, relay)

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._keyrings.create_index(
            "passkeys.credential_id",
            name="credential",
            unique=True,
            partialFilterExpression={"passkeys.credential_id": {"$exists": True}},
        )
        await self._used.create_index("until", name="until", expireAfterSeconds=0)

    async def get(self, user_id: str) -> Keyring:
        """The keyring of a user; an empty one if they have none yet."""
        document = await self._keyrings.find_one({"_id": user_id}, WITHOUT_PENDING)
        return Keyring.from_document(document) if document else Keyring(id=user_id)

    async def find(self, credential_id: str) -> Keyring | None:
        """The keyring with this passkey; None if it is in none."""
        document = await self._keyrings.find_one({"passkeys.credential_id": credential_id}, WITHOUT_PENDING)
        return Keyring.from_document(document) if document else None

    async def having_passkeys(self, user_ids: Sequence[str]) -> set[str]:
        """Which of these users have a passkey."""
        having = {"_id": {"$in": user_ids}, "passkeys.credential_id": {"$exists": True}}
        return {document["_id"] async for document in self._keyrings.find(having, {"_id": 1})}

    async def change(self, keyring: Keyring, decide: Callable[[Keyring], None]) -> Keyring:
        """Let `decide` change a keyring, and save it. Raises `PasskeyKnown`, and as `Outbox.update`."""
        try:
            return await self._outbox.change(keyring, decide)
        except DuplicateKeyError:
            raise PasskeyKnown("this passkey belongs to another account") from None

    async def drop(self, user_id: str, since: int) -> None:
        """Remove what was added in sessions of older passwords than this version."""
        keyring = await self.get(user_id)
        if keyring.version:
            await self.change(keyring, lambda keyring: keyring.drop(since))

    async def forget(self, user_id: str) -> None:
        """Empty the keyring of an account that is erased."""
        keyring = await self.get(user_id)
        if keyring.version:
            await self.change(keyring, Keyring.forget)

    async def use(self, challenge: str, until: datetime) -> bool:
        """Note that a challenge was answered. Return whether that is the first time; it is forgotten after `until`."""
        return await write_unless_there(self._used, InsertOne({"_id": challenge, "until": until}))
