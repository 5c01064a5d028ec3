"""Work that gets done even if processes die: documents with a field that says when work on them is due."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from common.mongo.client import Collection, Document

log = logging.getLogger(__name__)

SHUTDOWN_GRACE = 2.0
"""Seconds that running work gets to finish when the process ends."""


class LeasedWork:
    """Calls `work` with the id of every document of a collection when the time in its field `due_field` has come.

    A process takes a lease on a document by moving that time: `first_lease` seconds ahead, then twice as far for each
    attempt (counted in the field `tries`), up to `max_lease`. So one field is lease and growing delay in one. `work`
    removes the time or sets another one; if it fails or its process dies, the document is due again. Replicas share the
    documents; each works on up to `concurrency` of them. Work is done at least once: it may be repeated if it takes
    longer than its lease.
    """

    def __init__(
        self,
        collection: Collection,
        due_field: str,
        work: Callable[[str], Awaitable[None]],
        *,
        poll_seconds: float,
        first_lease: float,
        max_lease: float,
        concurrency: int = 16,
    ) -> None:
        """Documents that another process wrote are noticed within `poll_seconds`."""
        self._collection = collection
        self._due_field = due_field
        self._work = work
        self._poll_seconds = poll_seconds
        self._first_lease = first_lease
        self._max_lease = max_lease
        self._concurrency = concurrency
        self._wake = asyncio.Event()
        self._over = False
        self._running: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look for due documents at once: this process has just written one."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do the work in the background. On leaving, finish what is running, or cancel it after `SHUTDOWN_GRACE`."""
        await self._collection.create_index(self._due_field, name=self._due_field, sparse=True)
        poller = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._over = True  # Not cancelled: pymongo on Python 3.11 may swallow a cancellation.
            self._wake.set()
            await poller
            await self._finish()

    async def _finish(self) -> None:
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=SHUTDOWN_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _poll(self) -> None:
        while not self._over:
            self._wake.clear()
            try:
                pause = await self._start_due()
            except Exception as error:
                log.warning("could not look for due %s: %s", self._collection.name, error)
                pause = self._poll_seconds
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _start_due(self) -> float:
        """Start work on what is due. Return the seconds until the next look."""
        query = self._collection.find({self._due_field: {"$exists": True}}, {self._due_field: 1, "tries": 1})
        waiting = await query.sort(self._due_field).limit(self._concurrency + 1).to_list()
        now = datetime.now(UTC)
        for document in waiting:
            early: float = (document[self._due_field] - now).total_seconds()
            if early > 0:
                return min(early, self._poll_seconds)
            if len(self._running) < self._concurrency and document["_id"] not in self._running:
                await self._lease(document, now)
        return self._poll_seconds  # Work that ends wakes this loop earlier.

    async def _lease(self, document: Document, now: datetime) -> None:
        tries = document.get("tries", 0)
        lease_end = now + timedelta(seconds=min(self._first_lease * 2 ** min(tries, 32), self._max_lease))
        unleased = {"_id": document["_id"], self._due_field: document[self._due_field]}
        change = {"$set": {self._due_field: lease_end}, "$inc": {"tries": 1}}
        leased = await self._collection.update_one(unleased, change)
        if leased.modified_count:
            self._running[document["_id"]] = asyncio.create_task(self._run(document["_id"]))

    async def _run(self, key: str) -> None:
        try:
            await self._work(key)
        except Exception as error:
            log.warning("%s %s will be tried again: %s: %s", self._collection.name, key, type(error).__name__, error)
        finally:
            del self._running[key]
            self._wake.set()
