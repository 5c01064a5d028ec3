"""MongoDB as every service uses it: one client, its own database, majority reads and writes, batched lookups."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient, InsertOne, ReplaceOne, UpdateOne, _csot
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    WriteConcernError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.results import BulkWriteResult

from common.batching import Batcher

W = TypeVar("W")

Document = dict[str, Any]
Collection = AsyncCollection[Document]
Database = AsyncDatabase[Document]

AWAY = (ConnectionFailure, ExecutionTimeout, WriteConcernError)
"""Errors that mean that the server is away: the call was valid and may succeed later."""

NOT_READY = {
    6: "HostUnreachable",
    7: "HostNotFound",
    89: "NetworkTimeout",
    134: "ReadConcernMajorityNotAvailableYet",
    211: "KeyNotFound",
    262: "ExceededTimeLimit",
    9001: "SocketException",
}
"""Codes of errors that mean the same, for which the driver has no type of its own.

`KeyNotFound` comes from a member that has just copied its data, until it has the keys that sign the cluster's time. The
driver tries a call again after one of the others.
"""

NO_SPACE = "No space left on device"
"""In the message of an error that has no code of its own: what needs a new file does not fit on the disk."""

WITHOUT_PENDING: Mapping[str, int] = {"pending": 0}
"""The projection of every load: only the relay reads `pending`."""


TIMEOUT = 10.0
"""Seconds after which a call fails. A write that failed so may have happened, and may still be undone or confirmed."""

GRACE = 1.0
"""Seconds after its time that a call of the driver has to end by itself."""


@asynccontextmanager
async def database(url: str, timeout: float = TIMEOUT) -> AsyncIterator[Database]:
    """The database that `url` names. A call fails after `timeout` seconds.

    Writes wait for the majority, and reads show only what the majority has, which no failover takes back. But a primary
    that was deposed and does not know it yet may show old states: see `newest`.
    """
    client = Client(
        url,
        w="majority",
        readConcernLevel="majority",
        tz_aware=True,
        serverSelectionTimeoutMS=int(timeout * 500),
        timeoutMS=int(timeout * 1000),
    )
    try:
        yield client.get_default_database()
    finally:
        with pymongo.timeout(timeout):  # Of itself, the driver waits for half a minute to say good-bye.
            await client.close()


class MemberNotReady(ConnectionFailure):
    """A member of the replica set cannot do it yet."""


class Client(AsyncMongoClient[Document]):
    """A client whose calls raise `MemberNotReady` for an error with one of the codes `NOT_READY`, or of a full disk.

    They end in time also where the driver does not look at the clock: a TLS handshake with a process that hangs takes a
    minute, and a name that no server resolves as long as the resolver likes.
    """

    async def _retry_internal(self, *args: Any, **options: Any) -> Any:
        # The one method that all calls go through, reads, writes and commits. The driver has no public place for this.
        left = _csot.remaining()  # of the time that the call has, or the transaction around it
        try:
            async with asyncio.timeout(None if left is None else max(left, 0) + GRACE):
                return await super()._retry_internal(*args, **options)
        except TimeoutError as error:
            raise NetworkTimeout("the call did not end in time") from error
        except OperationFailure as error:
            if error.code in NOT_READY:
                labels = (error.details or {}).get("errorLabels")  # By these, a transaction is tried again.
                raise MemberNotReady(f"{NOT_READY[error.code]}: {error}", labels) from error
            if NO_SPACE in str(error):
                raise MemberNotReady(f"the disk is full: {error}") from error
            raise


DUPLICATE_KEY = 11000
"""MongoDB's error code."""


async def write_all(
    collection: Collection, writes: Sequence[InsertOne[Document] | UpdateOne | ReplaceOne[Document]]
) -> BulkWriteResult:
    """One bulk write, in which each write stands for itself. All insert, or none does: else it raises `ValueError`.

    The driver loses the updates among inserts (docs/decisions/pymongo.md): if it cannot connect to send them, it tries
    again, sends the inserts alone, and reports success.

    Raises `BulkWriteError` if some were refused, `MemberNotReady` if the disk is full, and `WTimeoutError` if the
    majority has not confirmed what was written or refused: the driver's error for each is the first one, which does not
    mean that the server is away.
    """
    if len(_by_kind(writes)) > 1:
        raise ValueError("the writes must be of one kind")
    try:
        return await collection.bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        details = error.details or {}
        if any(NO_SPACE in problem["errmsg"] for problem in details.get("writeErrors", [])):
            raise MemberNotReady("the disk is full") from error
        if details.get("writeConcernErrors"):
            raise WTimeoutError("not yet known to the majority") from error
        raise


async def write_in(
    session: AsyncClientSession, collection: Collection, writes: Sequence[InsertOne[Document] | UpdateOne]
) -> None:
    """Write in a transaction: a bulk write of the inserts, and one of the updates, see `write_all`."""
    for part in _by_kind(writes):
        await collection.bulk_write(part, ordered=False, session=session)


def _by_kind(writes: Sequence[W]) -> list[list[W]]:
    """The inserts, and the other writes, unless there are none."""
    inserts: list[W] = [write for write in writes if isinstance(write, InsertOne)]
    others = [write for write in writes if not isinstance(write, InsertOne)]
    return [part for part in (inserts, others) if part]


async def write_unless_there(collection: Collection, write: InsertOne[Document] | UpdateOne) -> bool:
    """One write; False if a unique index refuses it, because of what the majority has. Raises as `write_all`."""
    try:
        await write_all(collection, [write])
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE_KEY for problem in (error.details or {}).get("writeErrors", [])):
            raise
        return False
    return True


def look_up(collection: Collection, fields: Mapping[str, int] = WITHOUT_PENDING) -> Batcher[str, Document | None]:
    """Looks up a document by its id; None if there is none. Concurrent lookups share one query."""

    async def find(ids: Sequence[str]) -> list[Document | None]:
        if len(ids) == 1:
            return [await collection.find_one({"_id": ids[0]}, fields)]
        wanted = {"_id": {"$in": list(set(ids))}}
        found = {d["_id"]: d for d in await collection.find(wanted, fields).to_list()}
        return [found.get(i) for i in ids]

    return Batcher(find, shared=AWAY)


def newest(collection: Collection, *fields: str) -> Batcher[str, Document | None]:
    """Looks up a document as `look_up` does, as it surely is now: the primary asks the majority before it answers.

    That takes as long as a write. MongoDB reads each document of a query for itself, so each is the newest.
    """
    return look_up(collection.with_options(read_concern=ReadConcern("linearizable")), dict.fromkeys(fields, 1))
