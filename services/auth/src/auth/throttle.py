"""Slows down password guessing and mass sign-ups, without locking out anybody else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from auth.windows_store import Key, Window, Windows
from common.errors import TooMany
from common.http.network import network_of

MINUTE = 60
HOUR = 3_600

PASSWORD, PASSKEY, CODE = "", "passkey ", "code "
"""What is tried."""

SLOWER_AFTER = 20
"""Failures an hour with one account, from wherever, after which each further try with it takes longer."""

FIRST_SIGNUPS = 3
"""Sign-ups of a network in an hour that are not held up by other networks' crowds."""

MAILS_PER_ADDRESS = 5
"""Mails with a link that one address gets in an hour, whoever asks for them."""

LONGEST_DELAY = 5.0
"""Seconds that a try with such an account waits at most: its owner gets in, from anywhere."""


class SignUpsFull(TooMany):
    """Too many people sign up, from everywhere: the next ones may in `retry_after` seconds."""

    code = "too_many_signups"


class Throttle:
    """Limits of tries. An IPv4 /24 or an IPv6 /64 counts as one client."""

    def __init__(
        self,
        windows: Windows,
        *,
        failures_per_account: int,
        failures_per_network: int,
        signups_per_network: int,
        signups_overall: int,
        mails_per_network: int,
    ) -> None:
        self._windows = windows
        self._account = Window("account", failures_per_account, MINUTE)
        self._network = Window("network", failures_per_network, MINUTE)
        self._everywhere = Window("everywhere", SLOWER_AFTER, HOUR)
        self._signups = Window("signup", signups_per_network, MINUTE)
        self._first = Window("first signups", FIRST_SIGNUPS, HOUR)
        self._everybody = Window("all signups", signups_overall, MINUTE)
        self._mails = Window("mail", mails_per_network, MINUTE)
        self._mailed = Window("mailed", MAILS_PER_ADDRESS, HOUR)

    @asynccontextmanager
    async def guess(
        self, address: str, email: str, by: str = PASSWORD, known: str | None = None
    ) -> AsyncIterator["Guess"]:
        """A try with a password, which is wrong unless it is said to be `Guess.right`.

        What is tried `by` other means is counted apart, so wrong passwords keep nobody from them. Likewise tries of
        a device or a session that is `known` to be the account's: they are not slowed by what others try.

        Raises `TooMany` when this network has failed too often, with this account or with all together: before the try,
        and after it when those that ran beside it have used up the window. When an account has had many failures from
        everywhere, a try with it waits first.
        """
        network = network_of(address)
        if known:
            limits, everywhere = [Key(self._account, f"{by}known {known}")], Key(self._everywhere, f"known {known}")
        else:
            limits = [Key(self._account, f"{by}{network} {email}"), Key(self._network, f"{by}{network}")]
            everywhere = Key(self._everywhere, f"{by}{email}")
        *counts, failures = await self._windows.counts(*limits, everywhere)
        _check(limits, counts, most_are_too_many=True)
        await asyncio.sleep(min(LONGEST_DELAY, max(0.0, (failures - SLOWER_AFTER) / 4)))
        made = Guess()
        yield made
        if made.right:  # A right guess among many at once is still one too many.
            _check(limits, await self._windows.counts(*limits), most_are_too_many=True)
        else:
            *counts, _ = [await self._windows.hit(key) for key in (*limits, everywhere)]
            _check(limits, counts)

    async def count_signup(self, address: str) -> None:
        """Somebody signs up from here. Raises `TooMany` by the network, and `SignUpsFull` by all networks together.

        The first ones of a network have room of their own beside everybody's. Who is refused takes none of it: however
        many try, so many get in.
        """
        network = network_of(address)
        key = Key(self._signups, network)
        _check([key], [await self._windows.hit(key)])
        first, others = Key(self._everybody, "first"), Key(self._everybody, "others")
        if await self._windows.take(Key(self._first, network)) and await self._windows.take(first):
            return
        if await self._windows.take(others):
            return
        seconds = self._everybody.seconds_until_room()
        raise SignUpsFull(f"too many people are signing up; try again in {seconds} s", seconds)

    async def count_mail(self, address: str, email: str) -> bool:
        """Somebody asks from here for a mail to `email`. Return whether it gets any more. Raises `TooMany`."""
        key = Key(self._mails, network_of(address))
        _check([key], [await self._windows.hit(key)])
        return await self.count_mail_to(email)

    async def count_mail_to(self, email: str) -> bool:
        """Something asks for a mail to `email`. Return whether it gets any more."""
        return await self._windows.hit(Key(self._mailed, email)) <= self._mailed.most

    async def forget(self, email: str) -> None:
        """Keep nothing about an address."""
        await self._windows.forget(email)


@dataclass
class Guess:
    """Whether the password was right."""

    right: bool = False


def _check(keys: Sequence[Key], counts: Sequence[int], *, most_are_too_many: bool = False) -> None:
    """Raise `TooMany` if a key has more hits than it may have, or as many if one more would be `too many`."""
    for key, count in zip(keys, counts, strict=True):
        if count > key.window.most or (most_are_too_many and count >= key.window.most):
            seconds = key.window.seconds_until_room()
            raise TooMany(f"too many tries; try again in {seconds} s", seconds)
