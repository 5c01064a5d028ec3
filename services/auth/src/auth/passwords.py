"""Hashes passwords with argon2id, in separate threads: one takes about 0.2 s of a core and 64 MiB."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from pwdlib import PasswordHash

from common.errors import TooMany, Unavailable

THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


class Passwords:
    """Hashes and checks, `THREADS` at a time, for client addresses that share them. Made by `ready`."""

    def __init__(self, pool: ThreadPoolExecutor, backlog: int, per_address: int) -> None:
        self._pool = pool
        self._backlog = backlog
        self._per_address = per_address
        self._in_progress: Counter[str] = Counter()
        self._argon2 = PasswordHash.recommended()
        self._dummy_hash = ""

    @classmethod
    @asynccontextmanager
    async def ready(cls, backlog: int, per_address: int) -> AsyncIterator["Passwords"]:
        """With `backlog` calls in hand, the next one gets `Unavailable` at once; with `per_address` for one client
        address, the next one of that address gets `TooMany`.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="argon2") as pool:
            passwords = cls(pool, backlog, per_address)
            passwords._dummy_hash = await passwords.hash("nobody has this password", "nowhere")
            yield passwords

    async def hash(self, password: str, address: str) -> str:
        """The hash to store, with its salt and parameters."""
        return await self._in_pool(address, self._argon2.hash, password)

    async def verify(self, password: str, kept: str | None, address: str) -> tuple[bool, str | None]:
        """Whether the password is right, and a new hash to store if today's parameters are stronger.

        Without a hash (`kept` is None: no account has that address) it takes as long as for a wrong password.
        """
        check = self._argon2.verify_and_update
        right, stronger = await self._in_pool(address, check, password, kept or self._dummy_hash)
        return right and kept is not None, stronger

    async def _in_pool(self, address: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._in_progress[address] >= self._per_address:
            raise TooMany("too many people are signing in from this address right now; try again in a moment", 1)
        if self._in_progress.total() >= self._backlog:
            raise Unavailable("too many people are signing in right now; try again in a moment")
        self._in_progress[address] += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))
        finally:
            self._in_progress[address] -= 1
            if not self._in_progress[address]:
                del self._in_progress[address]
