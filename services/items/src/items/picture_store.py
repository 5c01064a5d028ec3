"""The files of pictures in GridFS. A file's id starts with the id of its picture, which says when it was made."""

from contextlib import suppress
from datetime import datetime

from gridfs import AsyncGridFSBucket
from gridfs.errors import CorruptGridFile, NoFile

from common.mongo.client import Database
from items.pictures import Sizes

Key = tuple[str, str]
"""Ids of a picture and of its item."""


class PictureStore:
    """Each picture as a file for each size. Those of before there was a `medium` one have two."""

    def __init__(self, db: Database) -> None:
        self._bucket = AsyncGridFSBucket(db, "pictures")
        self._chunks = db["pictures.chunks"]

    async def write(self, picture: Key, sizes: Sizes) -> None:
        """Store a new picture."""
        for size, content in sizes.items():
            await self._bucket.upload_from_stream_with_id(_file(picture, size), size, content)

    async def read(self, picture: Key, size: str) -> bytes | None:
        """One size of a picture, or the next larger one that it has. None if it has none, or is being deleted."""
        for one in _or_larger(size):
            with suppress(NoFile, CorruptGridFile):
                return await (await self._bucket.open_download_stream(_file(picture, one))).read()
        return None

    async def exists(self, picture: Key, size: str) -> bool:
        """Whether `read` finds a file. Does not read it."""
        for one in _or_larger(size):
            with suppress(NoFile):
                await self._bucket.open_download_stream(_file(picture, one))
                return True
        return False

    async def delete(self, picture: Key) -> None:
        """Delete the files of a picture, those that exist."""
        for size in ("small", "medium", "large"):
            with suppress(NoFile):
                await self._bucket.delete(_file(picture, size))

    async def page(self, *, after: Key | None, before: datetime, limit: int) -> list[Key]:
        """Some pictures made before a time, oldest first.

        Reads the chunks, which are written before a file and deleted after it, so that it finds what a crash left, too.
        """
        made = {"$gt": _file(after, "~") if after else "", "$lt": f"{int(before.timestamp() * 1000):012x}"}
        found = self._chunks.find({"files_id": made}, {"_id": 0, "files_id": 1}).sort("files_id").limit(limit)
        return list(dict.fromkeys([_picture(chunk["files_id"]) async for chunk in found]))


def _or_larger(size: str) -> tuple[str, ...]:
    return (size, "large") if size == "medium" else (size,)


def _file(picture: Key, size: str) -> str:
    return f"{picture[0]} {picture[1]} {size}"


def _picture(file: str) -> Key:
    picture_id, item_id, _ = file.split(" ")
    return picture_id, item_id
