"""Databases as documents: what a database that is reached only over the network has at one moment, read after it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

from bson import decode_file_iter
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from common.mongo.client import Database, database
from infra.local.backup.archive import NoBackup, Say, files_in, private

_AT_ONCE = 1_000
_RAW = CodecOptions(document_class=RawBSONDocument)


@dataclass(frozen=True)
class Moment:
    """A database as it was when `moment` was entered. MongoDB keeps that for `minSnapshotHistoryWindowInSeconds`."""

    database: Database
    collections: list[str]
    _session: AsyncClientSession

    async def save(self, folder: Path) -> int:
        """Write a file for each collection into the new `folder`; return the bytes written."""
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
        size = 0
        for name in self.collections:
            with private(folder / f"{name}.bson") as file:
                async for batch in self.database[name].find_raw_batches({}, session=self._session):
                    size += file.write(cast("bytes", batch))
        return size


@asynccontextmanager
async def moment(database: Database) -> AsyncIterator[Moment]:
    """Fix what is read of a database to now, while later writes go on."""
    names = await database.list_collection_names(filter={"name": {"$not": {"$regex": r"^system\."}}})
    async with database.client.start_session(snapshot=True) as session:
        if names:
            await database[names[0]].find_one({}, projection={"_id": 1}, session=session)  # the first read fixes it
        yield Moment(database, sorted(names), session)


async def load_databases(names: Sequence[str], folder: Path, url_for: Callable[[str], str], say: Say) -> None:
    """Write databases that `Moment.save` wrote below `folder` where they are empty. Services make their indexes.

    Raises `NoBackup` if MongoDB refuses them; before anything is written if one of them has a document already.
    """
    try:
        async with AsyncExitStack() as exits:
            opened = {name: await exits.enter_async_context(database(url_for(name))) for name in names}
            for db in opened.values():
                await _refuse_documents(db)
            for name, db in opened.items():
                say(f"database {name}: {await _load(db, folder / name)} documents")
    except PyMongoError as error:
        raise NoBackup(f"MongoDB refused the documents: {error}") from error


async def _refuse_documents(database: Database) -> None:
    for name in await database.list_collection_names():
        if await database[name].find_one({}, projection={"_id": 1}):
            raise NoBackup(f"database {database.name} has documents in {name}, and nothing is written over them")


async def _load(database: Database, folder: Path) -> int:
    """Return how many documents there were."""
    count = 0
    for file in files_in(folder):
        with file.open("rb") as content:
            documents = decode_file_iter(content, codec_options=_RAW)
            while batch := list(islice(documents, _AT_ONCE)):
                await database[file.stem].insert_many(batch)
                count += len(batch)
    return count
