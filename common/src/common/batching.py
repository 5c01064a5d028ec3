"""Natural batching: concurrent calls share one driver call.

A batch is everything that arrived while the previous one was in flight. There is no timer, so a single call never
waits; and the more calls there are, the larger the batches become. A driver call costs more CPU than the web framework
around it, so this is where a busy service saves most (docs/decisions/natural-batching.md has the figures).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import islice
from typing import Generic, TypeVar

from common.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Calls `work` with lists of its callers' arguments; each caller gets its own result or its own error.

    `work` returns one result per member, in order; an exception among the results is raised to that member's caller.
    If `work` itself raises, the members are tried again one by one, so that a bad member does not fail the others.
    Errors of the types in `shared` (the server is away) concern all members and are raised to all without a retry.

    A batch has at most `limit` members. When `backlog` members wait, the next caller gets `Unavailable` at once. A
    caller that is cancelled before its batch starts is left out; after that, the batch goes on without that caller.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[R | BaseException]]],
        *,
        limit: int = 256,
        backlog: int = 10_000,
        shared: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
    ) -> None:
        self._work = work
        self._limit = limit
        self._backlog = backlog
        self._shared = shared
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many members wait for their batch to start."""
        return len(self._waiting)

    async def __call__(self, member: T) -> R:
        """Put `member` into the next batch and wait for its result."""
        return await self.put(member)

    def put(self, member: T) -> asyncio.Future[R]:
        """Put `member` into the next batch; return a future of its result. Raises `Unavailable`."""
        if self._closed:
            raise Unavailable("this service is shutting down; try again")
        if len(self._waiting) >= self._backlog:
            raise Unavailable("too many calls are waiting; try again in a moment")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((member, answer))
        if self._worker is None:
            # In its own context: the worker serves many requests and must not log under the id of the first.
            self._worker = asyncio.create_task(self._run(), context=Context())
        return answer

    async def close(self) -> None:
        """Accept no more members; return when all that waited have their results."""
        self._closed = True
        if self._worker is not None:
            await self._worker

    async def _run(self) -> None:
        batch: Sequence[tuple[T, asyncio.Future[R]]] = ()
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in islice(range(len(self._waiting)), self._limit)]
                wanted = [(member, answer) for member, answer in batch if not answer.done()]
                if wanted:
                    await self._answer(wanted)
        finally:
            self._worker = None
            for _, answer in (*batch, *self._waiting):
                if not answer.done():  # Only if this task was cancelled, as by a driver that is being closed.
                    answer.set_exception(Unavailable("the work was cancelled; try again"))
            self._waiting.clear()

    async def _answer(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        for (_, answer), result in zip(batch, await self._results([member for member, _ in batch]), strict=True):
            if answer.done():
                continue
            if isinstance(result, BaseException):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    async def _results(self, members: Sequence[T]) -> Sequence[R | BaseException]:
        try:
            results = await self._work(members)
            if len(results) != len(members):
                raise RuntimeError(f"{self._work} gave {len(results)} results for {len(members)} members")
        except Exception as error:
            if len(members) == 1 or isinstance(error, self._shared):
                return [error] * len(members)
            return [result for member in members for result in await self._results([member])]
        return results
