"""MongoDB, as every service uses it: one client, one database of its own, majority writes, batched look-ups."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, ExecutionTimeout, WTimeoutError

from common.batching import Batcher

Document = dict[str, Any]
Collection = AsyncCollection[Document]
Database = AsyncDatabase[Document]

AWAY = (ConnectionFailure, ExecutionTimeout, WTimeoutError)
"""Errors that say: the server is away. Nothing is wrong with the request; try again later."""

WITHOUT_PENDING: Mapping[str, int] = {"pending": 0}
"""Projection of every load: the relay alone reads `pending`."""


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Database]:
    """The database that `url` names. Writes wait for the majority; a call gives up after 10 seconds."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        url, w="majority", tz_aware=True, serverSelectionTimeoutMS=5_000, timeoutMS=10_000
    )
    try:
        yield client.get_default_database()
    finally:
        await client.close()


def look_up(collection: Collection) -> Batcher[str, Document | None]:
    """Reads of single documents by id, concurrent ones sharing one query. A missing document is None."""

    async def find(ids: Sequence[str]) -> list[Document | None]:
        if len(ids) == 1:
            return [await collection.find_one({"_id": ids[0]}, WITHOUT_PENDING)]
        wanted = {"_id": {"$in": list(set(ids))}}
        found = {d["_id"]: d for d in await collection.find(wanted, WITHOUT_PENDING).to_list()}
        return [found.get(i) for i in ids]

    return Batcher(find, shared=AWAY)
