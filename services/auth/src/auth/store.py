"""Accounts in MongoDB: the only file of auth that speaks to it."""

import re
from collections.abc import Callable

from pymongo.errors import DuplicateKeyError

from auth.domain import Account, EmailTaken
from common.directory import Contact, Named, Namesakes, Owner
from common.errors import Unauthenticated
from common.mongo.client import WITHOUT_PENDING, Database
from common.outbox import Outbox, Relay

MOST_NAMESAKES = 50
"""Users that a part of a name finds."""

LIVING = {"erased_at": {"$exists": False}}
"""Accounts that are somebody's."""


class AccountStore:
    """Keeps accounts; the unique index on `email` decides who of two was first."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self.users = db.users
        self._outbox = Outbox(db.users, relay)

    async def prepare(self) -> None:
        """Make the indexes."""
        await self.users.create_index("email", name="email", unique=True)
        await self.users.create_index("name", name="name")

    async def find(self, email: str) -> Account | None:
        """The account with this address, in any case; None if there is none."""
        document = await self.users.find_one({"email": email.lower(), **LIVING}, WITHOUT_PENDING)
        return Account.from_document(document) if document else None

    async def get(self, user_id: str) -> Account | None:
        """The account with this id; None if there is none, or it is erased."""
        document = await self.users.find_one({"_id": user_id, **LIVING}, WITHOUT_PENDING)
        return Account.from_document(document) if document else None

    async def change(self, email: str, decide: Callable[[Account], None]) -> Account | None:
        """Let `decide` change the account with this address; None if there is none. Raises as `Outbox.update`."""
        account = await self.find(email)
        return await self.update(account, decide) if account else None

    async def update(self, account: Account, decide: Callable[[Account], None]) -> Account:
        """Let `decide` change a loaded account. Raises `EmailTaken`, `Unauthenticated`, and as `Outbox.update`."""

        def decide_if_living(account: Account) -> None:
            if account.erased_at:
                raise Unauthenticated("this account is not there any more")
            decide(account)

        try:
            return await self._outbox.change(account, decide_if_living)
        except DuplicateKeyError:
            raise EmailTaken("another account has this address") from None

    async def save(self, account: Account) -> None:
        """Save state and events. Raises `EmailTaken`, or `StaleWrite` when somebody else saved it first."""
        self._outbox.relay.check_room()
        try:
            await self._outbox.save(account)
        except DuplicateKeyError:
            raise EmailTaken("there is an account with this address already; sign in") from None

    async def erase_again(self, user_id: str) -> None:
        """Say once more that this account, which is erased, is erased."""
        if document := await self.users.find_one({"_id": user_id}, WITHOUT_PENDING):
            await self._outbox.change(Account.from_document(document), Account.erase_again, command=False)

    async def names(self, user_ids: list[str]) -> dict[str, Named]:
        """The names of users, by id."""
        found = self.users.find({"_id": {"$in": user_ids}, **LIVING}, {"name": 1})
        return {one["_id"]: Named(**one) async for one in found}

    async def contacts(self, user_ids: list[str]) -> dict[str, Contact]:
        """Where mails reach users, by id."""
        found = self.users.find({"_id": {"$in": user_ids}, **LIVING}, WITHOUT_PENDING)
        accounts = [Account.from_document(document) async for document in found]
        return {one.id: Contact(**one.model_dump(include=set(Contact.model_fields))) for one in accounts}

    async def owners(self, emails: list[str]) -> dict[str, Owner]:
        """Whose addresses these are, in any case, by address."""
        found = self.users.find({"email": {"$in": [email.lower() for email in emails]}, **LIVING}, {"email": 1})
        ids = {one["email"]: one["_id"] async for one in found}
        return {email: Owner(user_id=ids[email.lower()]) for email in emails if email.lower() in ids}

    async def namesakes(self, texts: list[str]) -> dict[str, Namesakes]:
        """Users whose name has one of these texts in it, in any case, by text."""
        found = {}
        for text in texts:
            there = {"name": {"$regex": re.escape(text), "$options": "i"}, **LIVING}
            users = await self.users.find(there, {"_id": 1}).limit(MOST_NAMESAKES).to_list()
            found[text] = Namesakes(user_ids=[user["_id"] for user in users])
        return found
