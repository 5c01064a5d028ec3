"""Hashing, with the real argon2."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from auth.passwords import Passwords
from common.errors import Unavailable

HERE = "192.0.2.1"
WEAK = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


async def test_a_password_fits_its_own_hash_only() -> None:
    async with Passwords.ready(backlog=10, per_network=10) as passwords:
        kept = await passwords.hash("correct horse", HERE)

        assert kept.startswith("$argon2id$")
        assert await passwords.verify("correct horse", kept, HERE) == (True, None)
        assert await passwords.verify("Correct horse", kept, HERE) == (False, None)


async def test_without_a_hash_no_password_is_right() -> None:
    async with Passwords.ready(backlog=10, per_network=10) as passwords:
        right, _ = await passwords.verify("nobody has this password", None, HERE)

    assert not right


async def test_a_weak_hash_is_replaced_once_the_password_is_known_to_be_right() -> None:
    async with Passwords.ready(backlog=10, per_network=10) as passwords:
        assert await passwords.verify("wrong", WEAK.hash("right"), HERE) == (False, None)
        right, stronger = await passwords.verify("right", WEAK.hash("right"), HERE)

        assert right
        assert stronger
        assert await passwords.verify("right", stronger, HERE) == (True, None)


async def test_a_full_queue_says_so_at_once_and_is_free_again_later() -> None:
    with ThreadPoolExecutor(1) as pool:
        passwords = Passwords(pool, backlog=2, per_network=3)
        calls = [asyncio.ensure_future(passwords.hash("one of three", HERE)) for _ in range(3)]
        *hashed, refused = await asyncio.gather(*calls, return_exceptions=True)

        assert all(isinstance(h, str) for h in hashed)
        assert isinstance(refused, Unavailable)
        assert await passwords.hash("later", HERE)


async def test_a_caller_who_leaves_gives_his_place_back() -> None:
    with ThreadPoolExecutor(1) as pool:
        passwords = Passwords(pool, backlog=2, per_network=2)
        first, second = (asyncio.ensure_future(passwords.hash("in line", HERE)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])

        assert await asyncio.gather(first, passwords.hash("next", HERE))
        with pytest.raises(asyncio.CancelledError):
            second.result()


async def test_networks_take_turns_however_much_one_of_them_sends() -> None:
    with ThreadPoolExecutor(1) as pool:
        passwords = Passwords(pool, backlog=100, per_network=100)
        done: list[str] = []

        async def one(address: str) -> None:
            await passwords.hash("in line", address)
            done.append(address)

        flood = [asyncio.ensure_future(one(f"2001:db8::{n:x}")) for n in range(12)]
        await asyncio.sleep(0)
        await one("192.0.2.1")

        assert done.index("192.0.2.1") <= 3, "after those that were running, and one more"
        await asyncio.gather(*flood)
