"""Leases as `LeasedWork` takes them, on documents in memory, and what it has started.

`LeasedWork` itself is the real class: what is due, who gets a lease and for how long, and what its end means.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast

from pymongo.errors import AutoReconnect

from common.leased_work import LeasedWork
from common.mongo.client import Collection, Document
from tests.interleavings.steps import Wires, pause

Lease = tuple[str, datetime]
"""Of which document, and since when it was due, which is when the lease before it ended."""

WORKING = "works on "
"""How the work on a document is called; its id follows."""

Work = Callable[[str], Awaitable[None]]


@dataclass
class Result:
    """Of an update."""

    modified_count: int


@dataclass
class Cursor:
    """Documents that a query finds, when it is read."""

    found: Callable[[], Iterable[Document]]
    most: int = 0

    def sort(self, by: str) -> Self:
        found = self.found
        self.found = lambda: sorted(found(), key=lambda document: cast("datetime", document[by]))
        return self

    def limit(self, most: int) -> Self:
        self.most = most
        return self

    async def to_list(self) -> list[Document]:
        await pause()
        return [dict(document) for document in self.found()][: self.most or None]


class LeasedDocuments:
    """The part of a collection that `LeasedWork` uses. It notes every lease in `taken`."""

    name = "documents"

    def __init__(self, documents: dict[str, Document], wires: Wires, taken: list[Lease]) -> None:
        self._documents = documents
        self._wires = wires
        self._taken = taken

    def find(self, query: Document, fields: Document | None = None) -> Cursor:  # noqa: ARG002
        [due_field] = query
        return Cursor(lambda: [d for d in self._documents.values() if due_field in d])

    async def update_one(self, wanted: Document, change: Document) -> Result:
        return await self._wires.call(lambda: self._update(wanted, change), AutoReconnect)

    def _update(self, wanted: Document, change: Document) -> Result:
        stored = self._documents[wanted["_id"]]
        if any(stored.get(name) != value for name, value in wanted.items()):
            return Result(0)
        [(due_field, _)] = change["$set"].items()
        self._taken.append((stored["_id"], stored[due_field]))
        counts = {name: stored.get(name, 0) + by for name, by in change["$inc"].items()}
        self._documents[stored["_id"]] = {**stored, **change["$set"], **counts}
        return Result(1)

    def as_collection(self) -> Collection:
        """This, for whoever asks for a collection."""
        return cast("Collection", self)


class Worker:
    """A process's share of some leased work. `failed` is called with an error that no work may have."""

    def __init__(self, leased: LeasedWork, accepted: tuple[type[Exception], ...], failed: list[Exception]) -> None:
        self._leased = leased
        leased._work = _watched(leased._work, accepted, failed)

    def look(self) -> Coroutine[Any, Any, float]:
        """Lease what is due, and start the work on it."""
        return self._leased._start_due()

    def restart(self) -> None:
        """Forget everything, as a process that starts does."""
        self._leased._running.clear()


def _watched(work: Work, accepted: tuple[type[Exception], ...], failed: list[Exception]) -> Work:
    async def watched(key: str) -> None:
        try:
            await work(key)
        except accepted:
            raise
        except Exception as error:
            failed.append(error)

    return watched


class Spawned:
    """In the place of `asyncio`: what is started goes on as a task of the process that started it."""

    Event = staticmethod(lambda: cast("object", Ringing()))

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Coroutine[Any, Any, None]]] = []

    def create_task(self, work: Coroutine[Any, Any, None]) -> object:
        """Start leased work."""
        self.waiting.append((f"{WORKING}{inspect.getcoroutinelocals(work)['key']}", work))
        return work

    def take(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What was started since, and what it is called."""
        started, self.waiting = self.waiting, []
        return started

    async def gather(self, *works: Coroutine[Any, Any, None]) -> None:
        """Do these works at the same time, until all have ended. Raises the first error."""
        ended: list[Exception | None] = []
        self.waiting += [("calls the webhook", _outcome(work, ended)) for work in works]
        try:
            while len(ended) < len(works):
                await pause()
        finally:
            for work in works:
                work.close()  # The process may die before it has begun.
        for error in filter(None, ended):
            raise error


class Ringing:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Do nothing."""


async def _outcome(work: Coroutine[Any, Any, None], ended: list[Exception | None]) -> None:
    try:
        await work
    except Exception as error:
        ended.append(error)
    else:
        ended.append(None)
