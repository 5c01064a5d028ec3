"""A clock that a test moves, in the place of the real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from types import ModuleType

import pytest

import common.clock
import orders.consumers
import payments.calls
import payments.cashier
import payments.gateways.sandbox

READERS = (common.clock, orders.consumers, payments.calls, payments.cashier, payments.gateways.sandbox)
"""Where orders, payments and the sandbox read the time, to decide what to do."""


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
    def shown(self, *more: ModuleType) -> Iterator[None]:
        """Meanwhile, the services and these modules read the time from this clock."""
        clock = self

        class Told(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return clock.now.astimezone(tz)

        with pytest.MonkeyPatch.context() as patch:
            for module in (*READERS, *more):
                patch.setattr(module, "datetime", Told)
            yield
