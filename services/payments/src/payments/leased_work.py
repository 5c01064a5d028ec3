"""Work that is finished although processes die: documents that carry the time at which somebody must see to them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from common.mongo.client import Collection, Document

log = logging.getLogger(__name__)

GOODBYE = 2.0
"""Seconds that work in hand is given when the process ends."""


class Rounds:
    """Sees to every document of a collection once the time in its field `at` has come.

    A document is claimed by putting its time off: by `first` seconds, then twice as long after each try (counted in
    its field `tries`), up to `longest`. That is lease and growing pause in one: whoever has seen to the document takes
    the time away, or sets another; if he fails or dies, its time comes again. Replicas share the work, `at_once`
    documents each. It is at least once: a slow one may be overtaken when its lease is over.
    """

    def __init__(
        self,
        collection: Collection,
        at: str,
        see_to: Callable[[str], Awaitable[None]],
        *,
        every: float,
        first: float,
        longest: float,
        at_once: int = 16,
    ) -> None:
        """`every` is how many seconds a document that another process wrote may be noticed late."""
        self._collection = collection
        self._at = at
        self._see_to = see_to
        self._every = every
        self._first = first
        self._longest = longest
        self._at_once = at_once
        self._wake = asyncio.Event()
        self._over = False
        self._busy: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look at once: this process has just written a time."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Make rounds; on leaving, finish what is in hand, or drop what takes too long: its time comes again."""
        await self._collection.create_index(self._at, name=self._at, sparse=True)
        walker = asyncio.create_task(self._walk())
        try:
            yield
        finally:
            self._over = True  # Not cancelled: pymongo on Python 3.11 may swallow a cancellation.
            self._wake.set()
            await walker
            await self._finish()

    async def _finish(self) -> None:
        if self._busy:
            _, late = await asyncio.wait(self._busy.values(), timeout=GOODBYE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _walk(self) -> None:
        while not self._over:
            self._wake.clear()
            try:
                pause = await self._round()
            except Exception as error:
                log.warning("a round of %s failed: %s", self._collection.name, error)
                pause = self._every
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _round(self) -> float:
        """Start on what is due, and return the seconds until more may be."""
        query = self._collection.find({self._at: {"$exists": True}}, {self._at: 1, "tries": 1})
        waiting = await query.sort(self._at).limit(self._at_once + 1).to_list()
        now = datetime.now(UTC)
        for document in waiting:
            early: float = (document[self._at] - now).total_seconds()
            if early > 0:
                return min(early, self._every)
            if len(self._busy) < self._at_once and document["_id"] not in self._busy:
                await self._begin(document, now)
        return self._every  # Whoever finishes wakes us before.

    async def _begin(self, document: Document, now: datetime) -> None:
        tries = document.get("tries", 0)
        put_off = now + timedelta(seconds=min(self._first * 2 ** min(tries, 32), self._longest))
        claim = {"_id": document["_id"], self._at: document[self._at]}
        claimed = await self._collection.update_one(claim, {"$set": {self._at: put_off}, "$inc": {"tries": 1}})
        if claimed.modified_count:
            self._busy[document["_id"]] = asyncio.create_task(self._attend(document["_id"]))

    async def _attend(self, key: str) -> None:
        try:
            await self._see_to(key)
        except Exception as error:
            log.warning("%s %s must be seen to again: %s: %s", self._collection.name, key, type(error).__name__, error)
        finally:
            del self._busy[key]
            self._wake.set()
