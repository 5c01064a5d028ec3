"""The windows of all replicas are the same: they are in auth's database."""

import asyncio
import time

import pytest

from auth import throttle as throttle_module
from auth.throttle import SLOWER_AFTER, Throttle
from auth.windows_store import Windows
from common.errors import TooMany
from common.mongo.client import Database


def throttle(db: Database, account: int = 5, network: int = 30, signups: int = 3) -> Throttle:
    """A replica's throttle."""
    return Throttle(
        Windows(db),
        failures_per_account=account,
        failures_per_network=network,
        signups_per_network=signups,
        mails_per_network=30,
    )


async def wrong(replica: Throttle, address: str, email: str = "ada@souk.test") -> bool:
    """A wrong guess. Whether the guesser hears so."""
    try:
        async with replica.guess(address, email):
            pass
    except TooMany:
        return False
    return True


async def test_forty_guesses_from_one_network_get_ten_tries_however_many_addresses_it_has(db: Database) -> None:
    replicas = [throttle(db), throttle(db)]

    heard = await asyncio.gather(*(wrong(replicas[n % 2], f"2001:db8:0:1::{n:x}") for n in range(40)))

    assert 5 <= sum(heard) <= 10


async def test_the_owner_gets_in_from_elsewhere_while_thousand_networks_guess(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle_module, "LONGEST_DELAY", 0.0)
    replica = throttle(db)
    for first in range(0, 1_000, 100):
        await asyncio.gather(*(wrong(replica, f"10.{n >> 8}.{n & 255}.1") for n in range(first, first + 100)))

    async with replica.guess("192.0.2.1", "ada@souk.test") as guess:
        guess.right = True

    async with replica.guess("192.0.2.1", "ada@souk.test") as guess:
        guess.right = True


async def test_tries_with_an_account_that_many_guess_at_are_slower_and_others_are_not(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle_module, "LONGEST_DELAY", 0.2)
    replica = throttle(db)
    for n in range(SLOWER_AFTER + 4):
        await wrong(replica, f"10.0.{n}.1")

    began = time.monotonic()
    await wrong(replica, "192.0.2.1")
    assert time.monotonic() - began >= 0.2
    assert await wrong(replica, "192.0.2.1", "bob@souk.test")


async def test_a_right_password_is_no_offence(db: Database) -> None:
    replica = throttle(db)

    for _ in range(20):
        async with replica.guess("192.0.2.1", "ada@souk.test") as guess:
            guess.right = True


async def test_signing_up_is_counted_by_network(db: Database) -> None:
    replica = throttle(db)
    for n in range(3):
        await replica.count_signup(f"192.0.2.{n}")

    with pytest.raises(TooMany):
        await replica.count_signup("192.0.2.99")
    await replica.count_signup("192.0.3.1")
