"""Natural batching: concurrent calls share one driver call.

A batch is whatever arrived while the last one was in flight. There is no timer, so a lone call waits for nothing, and
the busier it gets the larger the batches become. A driver call costs more than the web framework around it, so this
is where a busy service wins its time back (docs/decisions/natural-batching.md has the figures).
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
    """Calls `work` with lists of what its callers passed; each caller gets the answer, or the error, of its own.

    `work` answers with one result per member, in order; an exception among the results is raised to that member alone.
    If `work` itself raises, a batch of several is tried again one by one, so that one bad member spoils nobody else's
    call; errors of the kinds in `shared` (the server is away) are everybody's and go to all at once.

    At most `limit` members a batch; with `backlog` members waiting, the next caller gets `Unavailable` at once. A
    caller that is cancelled before its batch starts is left out of it; later, the batch goes on without him.
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
        """How many are waiting for their batch to start."""
        return len(self._waiting)

    async def __call__(self, member: T) -> R:
        """Put `member` into the next batch and wait for its result."""
        return await self.put(member)

    def put(self, member: T) -> asyncio.Future[R]:
        """Put `member` into the next batch; the future has its result."""
        if self._closed:
            raise Unavailable("this service is shutting down; try again")
        if len(self._waiting) >= self._backlog:
            raise Unavailable("too much is waiting already; try again in a moment")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((member, answer))
        if self._worker is None:
            # A context of its own: the worker serves many requests and must not speak in the name of the first.
            self._worker = asyncio.create_task(self._run(), context=Context())
        return answer

    async def close(self) -> None:
        """Take no more; return when all that waited has its answer."""
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
                if not answer.done():  # Only when this task was cancelled, as a driver does that is being closed.
                    answer.set_exception(Unavailable("the work was broken off; try again"))
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
