"""Coroutines that stop before each input and output, so that a test decides who goes on, who dies and what is lost."""

import random
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

from common.bus.consumers import RetryLater
from common.errors import SoukError
from common.mongo.client import AWAY

T = TypeVar("T")

ACCEPTED = (*AWAY, SoukError, RetryLater)
"""Errors that may end a task: somebody is told no, or it is tried again."""


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Stop here until the test lets this coroutine go on."""
    yield


@dataclass
class Wires:
    """Calls to a server: any request, and any answer, may be lost."""

    rng: random.Random
    lossy: bool = False
    likely: float = 0.08

    async def call(self, work: Callable[[], T], lost: type[Exception]) -> T:
        """Do `work` on the server. Raises `lost` where the caller hears nothing of it, done or not."""
        await pause()
        self._perhaps(lost)
        result = work()
        await pause()
        self._perhaps(lost)
        return result

    def _perhaps(self, lost: type[Exception]) -> None:
        if self.lossy and self.rng.random() < self.likely:
            raise lost("lost on the way")


@dataclass(eq=False)
class Task:
    """A handler, a request or a piece of leased work under way in a process."""

    process: str
    what: object
    work: Coroutine[Any, Any, Any]
    succeeded: Callable[[Any], object]
    context: Context = field(default_factory=copy_context)

    def advance(self) -> str | None:
        """Go on until the next pause. Return how it ended, or None while it has not."""
        try:
            self.context.run(self.work.send, None)
        except StopIteration as end:
            self.succeeded(end.value)
            return "done"
        except ACCEPTED as error:
            return type(error).__name__
        return None

    def die(self) -> None:
        """Its process is killed: it never goes on."""
        self.context.run(self.work.close)
