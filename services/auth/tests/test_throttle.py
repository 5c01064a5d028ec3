"""The windows of all replicas are the same: they are in auth's database."""

import asyncio
import time
from collections import Counter

import httpx
import pytest

from auth import throttle as throttle_module
from auth import windows_store as windows_module
from auth.main import app
from auth.throttle import CODE, FIRST_SIGNUPS, PASSKEY, SLOWER_AFTER, SignUpsFull, Throttle
from auth.windows_store import Windows
from common.errors import TooMany
from common.mongo.client import Database


def throttle(db: Database, account: int = 5, network: int = 30, signups: int = 3, overall: int = 600) -> Throttle:
    """A replica's throttle."""
    return Throttle(
        Windows(db),
        failures_per_account=account,
        failures_per_network=network,
        signups_per_network=signups,
        signups_overall=overall,
        mails_per_network=30,
    )


class Clock:
    """The time of windows. It begins in the middle of a minute, and stands until a test moves it."""

    def __init__(self) -> None:
        self.now = time.time() // 60 * 60 + 30

    def time(self) -> float:
        """As `time.time`."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets the time of windows."""
    clock = Clock()
    monkeypatch.setattr(windows_module, "time", clock)
    return clock


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


async def test_wrong_passwords_keep_nobody_from_their_passkey_or_code(db: Database) -> None:
    replica = throttle(db)
    while await wrong(replica, "192.0.2.1"):
        pass

    for by in (PASSKEY, CODE):
        async with replica.guess("192.0.2.1", "ada@souk.test", by) as guess:
            guess.right = True


async def test_who_shares_a_network_with_a_guesser_signs_in_on_a_device_that_they_have_used(
    auth: httpx.AsyncClient,
) -> None:
    async def sign_in(password: str, cookie: str = "", email: str = "ada@souk.test") -> httpx.Response:
        auth.cookies.clear()
        headers = {"Cookie": f"device={cookie}"} if cookie else {}
        body = {"email": email, "password": password}
        return await auth.post("/api/users/signin", json=body, headers=headers)

    for name in ("ada", "bea"):
        body = {"email": f"{name}@souk.test", "password": "correct horse", "name": name}
        assert (await auth.post("/api/users/signup", json=body)).status_code == 201
    known = (await sign_in("correct horse")).cookies["device"]
    of_bea = (await sign_in("correct horse", email="bea@souk.test")).cookies["device"]
    while (await sign_in("wrong horse")).status_code == 401:
        pass

    assert (await sign_in("correct horse")).status_code == 429
    for forged in (of_bea, known[:-1] + ("0" if known[-1] != "0" else "1"), "x.y", "nonsense"):
        assert (await sign_in("correct horse", forged)).status_code == 429
    answer = await sign_in("correct horse", known)
    assert (answer.status_code, answer.cookies["device"]) == (200, known)

    while (await sign_in("wrong horse", known)).status_code == 401:
        pass
    assert (await sign_in("correct horse", known)).status_code == 429


@pytest.mark.prove
@pytest.mark.usefixtures("clock")
async def test_after_a_thousand_guesses_over_http_the_owner_signs_in_from_elsewhere(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle_module, "LONGEST_DELAY", 0.5)
    ada = {"email": "ada@souk.test", "password": "correct horse"}
    assert (await auth.post("/api/users/signup", json={**ada, "name": "Ada"})).status_code == 201

    async def sign_in(address: str, password: str) -> int:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://souk.test") as browser:
            return (await browser.post("/api/users/signin", json={**ada, "password": password})).status_code

    tried = Counter[int]()
    for first in range(0, 1_000, 50):
        guesses = [sign_in(f"10.0.{n % 20}.{n // 20 + 1}", f"wrong horse {n}") for n in range(first, first + 50)]
        tried.update(await asyncio.gather(*guesses))

    assert set(tried) == {401, 429}
    assert tried[401] <= 20 * 10, "each network was heard a few times"
    assert await sign_in("192.0.2.1", ada["password"]) == 200


async def test_signing_up_is_counted_by_network(db: Database) -> None:
    replica = throttle(db)
    for n in range(3):
        await replica.count_signup(f"192.0.2.{n}")

    with pytest.raises(TooMany):
        await replica.count_signup("192.0.2.99")
    await replica.count_signup("192.0.3.1")


async def signed_up(replica: Throttle, address: str) -> bool:
    """Whether somebody may sign up from here."""
    try:
        await replica.count_signup(address)
    except SignUpsFull:
        return False
    return True


async def test_signing_up_is_limited_over_all_networks_and_replicas(db: Database, clock: Clock) -> None:
    replicas = [throttle(db, signups=100, overall=10), throttle(db, signups=100, overall=10)]

    passed = await asyncio.gather(*(signed_up(replicas[n % 2], f"10.0.{n}.1") for n in range(40)))

    assert sum(passed) == 20  # 10 as the first of their networks, and 10 more.


async def test_networks_that_send_crowds_leave_room_for_the_first_of_other_networks(db: Database, clock: Clock) -> None:
    replica = throttle(db, signups=100, overall=10)
    for n in range(2):
        for _ in range(FIRST_SIGNUPS):
            assert await signed_up(replica, f"10.0.{n}.1")
    crowd = [await signed_up(replica, f"10.0.{n % 2}.1") for n in range(40)]

    assert crowd == [True] * 10 + [False] * 30
    assert await signed_up(replica, "192.0.2.1")
    assert await signed_up(replica, "2001:db8::1")


async def test_who_is_refused_takes_no_room_so_that_a_flood_closes_nothing_for_long(db: Database, clock: Clock) -> None:
    replica, passed = throttle(db, signups=1_000, overall=10), []

    for minute in range(10):  # Each from a network of its own, and four times as many as may.
        passed.append(0)
        for n in range(40):
            passed[-1] += await signed_up(replica, f"10.{minute}.{n}.1")
            clock.now += 1.5

    assert min(passed) >= 10  # 20 may: 10 as the first of their networks, and 10 more.
    assert sum(passed[2:]) <= 20 * 8 * 1.2


async def test_a_person_who_was_refused_gets_in_when_the_rush_is_over(db: Database, clock: Clock) -> None:
    replica = throttle(db, signups=100, overall=10)
    for n in range(30):
        await signed_up(replica, f"10.0.{n}.1")
    assert not await signed_up(replica, "192.0.2.1")

    clock.now += 120

    assert await signed_up(replica, "192.0.2.1")
