"""Databases as documents: what a database that is reached only over the network has at one moment, read after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bson import decode_file_iter
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from common.mongo.client import Database
from infra.local.backup.archive import files_in, private

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


async def load_documents(database: Database, folder: Path) -> int:
    """Write what `Moment.save` wrote into an empty database; return how many documents. Services make their indexes."""
    count = 0
    for file in files_in(folder):
        collection = database[file.stem]
        with file.open("rb") as content:
            batch: list[RawBSONDocument] = []
            for document in decode_file_iter(content, codec_options=_RAW):
                batch.append(document)
                if len(batch) == _AT_ONCE:
                    count += len((await collection.insert_many(batch)).inserted_ids)
                    batch = []
            if batch:
                count += len((await collection.insert_many(batch)).inserted_ids)
    return count
