"""How many changes one caller may ask a process for: a signed-in user, else a network (docs/decisions/hoarding.md)."""

import math
import time

from cachetools import LRUCache

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

WINDOW = 60.0
"""Seconds whose worth of changes a caller may ask for at once."""


class WriteLimit:
    """`per_minute` changes at once, and as many in each minute after that, evenly spread. In memory."""

    def __init__(self, per_minute: int) -> None:
        self._each = WINDOW / per_minute
        # When all that a caller has asked for is used up, at that rate (GCRA). Who is forgotten had not asked for long.
        self._until: LRUCache[str, float] = LRUCache(maxsize=100_000)

    def count(self, caller: str) -> int:
        """Count a change. Return 0, or the seconds to wait before the next one; then it does not count."""
        now = time.monotonic()
        until = max(self._until.get(caller, now), now) + self._each
        if until > now + WINDOW:
            return math.ceil(until - now - WINDOW)
        self._until[caller] = until
        return 0
