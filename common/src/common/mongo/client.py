"""MongoDB as every service uses it: one client, its own database, majority writes, batched lookups."""

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
"""Errors that mean that the server is away: the call was valid and may succeed later."""

WITHOUT_PENDING: Mapping[str, int] = {"pending": 0}
"""The projection of every load: only the relay reads `pending`."""


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Database]:
    """The database that `url` names. Writes wait for the majority; a call fails after 10 seconds."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        url, w="majority", tz_aware=True, serverSelectionTimeoutMS=5_000, timeoutMS=10_000
    )
    try:
        yield client.get_default_database()
    finally:
        await client.close()


def look_up(collection: Collection) -> Batcher[str, Document | None]:
    """Looks up a document by its id; None if there is none. Concurrent lookups share one query."""

    async def find(ids: Sequence[str]) -> list[Document | None]:
        if len(ids) == 1:
            return [await collection.find_one({"_id": ids[0]}, WITHOUT_PENDING)]
        wanted = {"_id": {"$in": list(set(ids))}}
        found = {d["_id"]: d for d in await collection.find(wanted, WITHOUT_PENDING).to_list()}
        return [found.get(i) for i in ids]

    return Batcher(find, shared=AWAY)
