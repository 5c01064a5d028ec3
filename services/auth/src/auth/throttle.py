"""Slows down password guessing and mass sign-ups, without locking out anybody else."""

import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from common.errors import TooMany


class Throttle:
    """Moving windows of one minute, per client address.

    They are in the memory of this process: N replicas allow N times as much, and a restart clears them. That is enough
    to make guessing hopeless (argon2 and its queue limit it further), and it needs no server.
    """

    def __init__(self, *, failures_per_account: int, failures_per_address: int, signups_per_address: int) -> None:
        self._account = RateLimitItemPerMinute(failures_per_account)
        self._address = RateLimitItemPerMinute(failures_per_address)
        self._signups = RateLimitItemPerMinute(signups_per_address)
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    async def check_guess(self, address: str, email: str) -> None:
        """Raise `TooMany` when this address has failed too often, with this account or with all together."""
        for limit, key in self._guess(address, email):
            if not await self._windows.test(limit, *key):
                raise await self._too_many(limit, key)

    async def count_failure(self, address: str, email: str) -> None:
        """A guess was wrong. Raises `TooMany` when those that ran beside it have used up the minute."""
        for limit, key in self._guess(address, email):
            if not await self._windows.hit(limit, *key):
                raise await self._too_many(limit, key)

    async def count_signup(self, address: str) -> None:
        """Somebody signs up from here. Raises `TooMany`."""
        key = ("signup", address)
        if not await self._windows.hit(self._signups, *key):
            raise await self._too_many(self._signups, key)

    def _guess(self, address: str, email: str) -> list[tuple[RateLimitItem, tuple[str, ...]]]:
        return [(self._account, ("account", address, email)), (self._address, ("address", address))]

    async def _too_many(self, limit: RateLimitItem, key: tuple[str, ...]) -> TooMany:
        window = await self._windows.get_window_stats(limit, *key)
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        return TooMany(f"too many tries; try again in {seconds} s", seconds)
