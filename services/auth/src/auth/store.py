"""Accounts in MongoDB: the only file of auth that speaks to it."""

from collections.abc import Callable

from pymongo.errors import DuplicateKeyError

from auth.domain import Account, EmailTaken
from common.mongo.client import WITHOUT_PENDING, Database
from common.outbox import Outbox, Relay


class AccountStore:
    """Keeps accounts; the unique index on `email` decides who of two was first."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._users = db.users
        self._outbox = Outbox(db.users, relay)

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._users.create_index("email", name="email", unique=True)

    async def find(self, email: str) -> Account | None:
        """The account with this address, in any case; None if there is none."""
        document = await self._users.find_one({"email": email.lower()}, WITHOUT_PENDING)
        return Account.from_document(document) if document else None

    async def get(self, user_id: str) -> Account | None:
        """The account with this id; None if there is none."""
        document = await self._users.find_one({"_id": user_id}, WITHOUT_PENDING)
        return Account.from_document(document) if document else None

    async def change(self, email: str, decide: Callable[[Account], None]) -> Account | None:
        """Let `decide` change the account with this address; None if there is none. Raises as `Outbox.update`."""
        account = await self.find(email)
        return await self.update(account, decide) if account else None

    async def update(self, account: Account, decide: Callable[[Account], None]) -> Account:
        """Let `decide` change a loaded account. Raises `EmailTaken`, and as `Outbox.update`."""
        try:
            return await self._outbox.change(account, decide)
        except DuplicateKeyError:
            raise EmailTaken("another account has this address") from None

    async def save(self, account: Account) -> None:
        """Save state and events. Raises `EmailTaken`, or `StaleWrite` when somebody else saved it first."""
        self._outbox.relay.check_room()
        try:
            await self._outbox.save(account)
        except DuplicateKeyError:
            raise EmailTaken("there is an account with this address already; sign in") from None
