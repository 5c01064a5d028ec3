"""A clock that a test moves, in the place of the real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from types import ModuleType

import pytest


@dataclass
class Clock:
    """The time, as a test tells it. `clock()` is that time."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let this much time pass."""
        self.now += by

    @contextmanager
    def shown_to(self, *modules: ModuleType) -> Iterator[None]:
        """Meanwhile, `datetime.now` in these modules tells the time of this clock."""
        clock = self

        class Told(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return clock.now.astimezone(tz)

        with pytest.MonkeyPatch.context() as patch:
            for module in modules:
                patch.setattr(module, "datetime", Told)
            yield
