"""Who somebody is: asked of auth, by key, and never a wrong answer when auth is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from common.bus.connection import Bus, heard
from common.directory import CONTACTS, IDS, MOST, NAMES, Contact, Directory, Named, Owner, answering
from common.errors import Unavailable

ADA = Contact(name="Adæla", email="ada@souk.test", email_version=2, language="de")


async def names(user_ids: list[str]) -> dict[str, Named]:
    assert len(user_ids) <= MOST
    return {user_id: Named(name=user_id.upper()) for user_id in user_ids if user_id != "nobody"}


async def contacts(_: list[str]) -> dict[str, Contact]:
    return {"ada": ADA}


async def broken(_: list[str]) -> dict[str, Owner]:
    raise RuntimeError("the database is away")


@pytest_asyncio.fixture
async def directory(bus_url: str) -> AsyncIterator[Directory]:
    async with (
        Bus.connected(bus_url, "auth") as auth,
        Bus.connected(bus_url, "items") as bus,
        answering(auth, {NAMES: names, CONTACTS: contacts, IDS: broken}),
    ):
        yield Directory(bus)


async def test_any_number_of_names_is_found_and_nobody_is_left_out_silently(directory: Directory) -> None:
    wanted = [f"u{number}" for number in range(2 * MOST + 1)]

    assert await directory.names([*wanted, "nobody"]) == {one: one.upper() for one in wanted}
    assert await directory.name("nobody") is None
    assert await directory.contact("ada") == ADA


async def test_what_auth_cannot_say_is_not_taken_for_nobody(directory: Directory) -> None:
    with pytest.raises(Unavailable):
        await directory.user_with("ada@souk.test")  # Its database is away.
    with pytest.raises(Unavailable):
        await directory.address_change("r1")  # Nobody answers there.


async def test_whoever_answers_is_heard_at_once(bus_url: str) -> None:
    async def echo(body: bytes) -> bytes:
        return body

    async with Bus.connected(bus_url, "auth") as auth, Bus.connected(bus_url, "items") as items:
        for _ in range(200):
            async with auth.answering(NAMES, echo):
                assert await items.request(NAMES, b"who?") == b"who?"


async def test_whoever_stops_answering_answers_what_was_asked_before(bus_url: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(body: bytes) -> bytes:
        begun.set()
        await go_on.wait()
        return body

    async with Bus.connected(bus_url, "auth") as auth, Bus.connected(bus_url, "items") as items:
        async with auth.answering(NAMES, answer):
            asked = [asyncio.create_task(items.request(NAMES, b"who?")) for _ in range(5)]
            await begun.wait()
            await heard(items._client)
            asyncio.get_running_loop().call_later(0.1, go_on.set)
        assert await asyncio.gather(*asked) == [b"who?"] * 5
