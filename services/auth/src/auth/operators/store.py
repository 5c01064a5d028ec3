"""Operators in MongoDB: who is one, and giving and taking that right in a transaction."""

from collections.abc import Callable, Mapping
from typing import Any

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from auth.domain import Account, PersonNotFound
from auth.store import LIVING
from common.bus.envelope import Envelope
from common.errors import SoukError
from common.http.sessions import OPERATOR
from common.mongo.client import WITHOUT_PENDING, Database, write_in
from common.outbox import Outbox, Relay, write_of

TRANSACTION_TIMEOUT = 10.0
"""Seconds after which a change, with its retries, is given up."""

OPERATORS = {"roles": OPERATOR}
"""The query for them, and the filter of their index."""

Filter = Mapping[str, Any]


class OperatorStore:
    """The accounts that are operators."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._client = db.client
        self._users = db.users
        self._outbox = Outbox(db.users, relay)

    async def prepare(self) -> None:
        """Make the index of the few accounts that are operators."""
        await self._users.create_index("roles", name="operators", partialFilterExpression=OPERATORS)

    async def all(self) -> list[Account]:
        """The operators, by name."""
        found = self._users.find(OPERATORS, WITHOUT_PENDING).sort([("name", 1), ("_id", 1)])
        return [Account.from_document(document) async for document in found]

    async def change(
        self, user_id: str, decide: Callable[[Account], None], *, staying: Filter, otherwise: SoukError
    ) -> bool:
        """Let `decide` change an account while a `staying` operator is one; return whether it recorded anything.

        The account of who stays is written as well: it gets a new version. So of two changes at once, each of which
        counts on the operator that the other one takes the right from, one is tried again and then finds nobody.
        Raises `otherwise` where nobody stays, `PersonNotFound`, `Unavailable` when too many events wait for the bus,
        and one of `AWAY` if it does not succeed within `TRANSACTION_TIMEOUT`.
        """
        self._outbox.relay.check_room()

        async def attempt(session: AsyncClientSession) -> tuple[Account, list[Envelope]]:
            who = {**staying, **OPERATORS}
            if not await self._users.find_one_and_update(who, {"$inc": {"version": 1}}, {"_id": 1}, session=session):
                raise otherwise
            document = await self._users.find_one({"_id": user_id, **LIVING}, WITHOUT_PENDING, session=session)
            if document is None:
                raise PersonNotFound("nobody has this account")
            account = Account.from_document(document)
            decide(account)
            envelopes = self._outbox.envelopes(account)
            if envelopes:
                await write_in(session, self._users, [write_of(account, envelopes)])
            return account, envelopes

        with pymongo.timeout(TRANSACTION_TIMEOUT):
            async with self._client.start_session() as session:
                account, envelopes = await session.with_transaction(
                    attempt, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
                )
        if envelopes:
            self._outbox.committed(account, envelopes)
        return bool(envelopes)
