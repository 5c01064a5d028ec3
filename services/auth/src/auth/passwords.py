"""Hashes passwords with argon2id, in separate threads: one takes about 0.2 s of a core and 64 MiB."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from pwdlib import PasswordHash

from auth.password_rules import check_password
from common.errors import TooMany, Unavailable
from common.http.network import network_of

THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


class Passwords:
    """Hashes and checks, `THREADS` at a time. Made by `ready`.

    The networks that wait take turns, so one that sends a hundred passwords delays another one by a single password.
    """

    def __init__(self, pool: ThreadPoolExecutor, backlog: int, per_network: int) -> None:
        self._pool = pool
        self._backlog = backlog
        self._per_network = per_network
        self._in_hand: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._running = 0
        self._argon2 = PasswordHash.recommended()
        self._dummy_hash = ""

    @classmethod
    @asynccontextmanager
    async def ready(cls, backlog: int, per_network: int) -> AsyncIterator["Passwords"]:
        """With `backlog` calls in hand, the next one gets `Unavailable` at once; with `per_network` of one network, the
        next one from there gets `TooMany`.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="argon2") as pool:
            passwords = cls(pool, backlog, per_network)
            passwords._dummy_hash = await passwords.hash("nobody has this password", "nowhere")
            yield passwords

    async def hash(self, password: str, address: str) -> str:
        """The hash to store, with its salt and parameters."""
        return await self._in_turn(address, self._argon2.hash, password)

    async def hash_new(self, password: str, address: str, *owner: str, field: str = "password") -> str:
        """The hash of a password that was just chosen by its owner. Raises `PasswordTooWeak` about `field`."""
        return await self._in_turn(address, self._checked_hash, password, owner, field)

    def _checked_hash(self, password: str, owner: Sequence[str], field: str) -> str:
        check_password(password, owner, field)
        return self._argon2.hash(password)

    async def verify(self, password: str, kept: str | None, address: str) -> tuple[bool, str | None]:
        """Whether the password is right, and a new hash to store if today's parameters are stronger.

        Without a hash (no account has that address, or it has no password) it takes as long as for a wrong password.
        """
        check = self._argon2.verify_and_update
        right, stronger = await self._in_turn(address, check, password, kept or self._dummy_hash)
        return right and bool(kept), stronger

    async def _in_turn(self, address: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        network = network_of(address)
        if self._in_hand[network] >= self._per_network:
            raise TooMany("too many people are signing in from this network right now; try again in a moment", 1)
        if self._in_hand.total() >= self._backlog:
            raise Unavailable("too many people are signing in right now; try again in a moment")
        self._in_hand[network] += 1
        try:
            async with self._turn(network):
                return await asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))
        finally:
            self._in_hand[network] -= 1
            if not self._in_hand[network]:
                del self._in_hand[network]

    @asynccontextmanager
    async def _turn(self, network: str) -> AsyncIterator[None]:
        """Wait for this network's turn; the next one comes at the end of the context."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(network, deque()).append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._running -= 1
                self._admit()

    def _admit(self) -> None:
        while self._waiting and self._running < THREADS:
            network, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[network] = turns  # At the end: the others come first.
            if not turn.cancelled():
                self._running += 1
                turn.set_result(None)
