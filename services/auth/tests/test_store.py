"""Accounts in a real MongoDB."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from auth.domain import Account, EmailTaken
from auth.store import AccountStore
from common.bus.connection import Bus
from common.errors import StaleWrite
from common.mongo.client import Database
from common.outbox import Relay


@pytest_asyncio.fixture
async def accounts(db: Database, bus_url: str) -> AsyncIterator[AccountStore]:
    async with Bus.connected(bus_url, "auth") as bus, Relay.running(bus, db.users) as relay:
        store = AccountStore(db, relay)
        await store.prepare()
        yield store


def someone(email: str = "ada@souk.test") -> Account:
    return Account.register(email=email, name="Ada", password_hash="$argon2id$...")


async def test_an_account_is_found_by_its_address_in_any_case(accounts: AccountStore) -> None:
    ada = someone()
    await accounts.save(ada)

    found = await accounts.find("ADA@souk.test")

    assert found == ada
    assert found.version == 1
    assert await accounts.find("grace@souk.test") is None


async def test_of_many_who_want_one_address_at_once_one_gets_it_and_the_others_in_the_batch_their_own(
    accounts: AccountStore, db: Database
) -> None:
    same = [someone() for _ in range(10)]
    others = [someone(f"{n}@souk.test") for n in range(10)]

    results = await asyncio.gather(*map(accounts.save, same + others), return_exceptions=True)

    assert sorted(map(str, results[:10]))[0] == "None"
    assert [type(r) for r in results[:10]].count(EmailTaken) == 9
    assert results[10:] == [None] * 10
    assert await db.users.count_documents({}) == 11


async def test_what_somebody_else_has_saved_is_not_overwritten(accounts: AccountStore) -> None:
    await accounts.save(someone())
    first, second = await accounts.find("ada@souk.test"), await accounts.find("ada@souk.test")
    assert first
    assert second

    first.strengthen("first")
    await accounts.save(first)
    second.strengthen("second")
    with pytest.raises(StaleWrite):
        await accounts.save(second)

    kept = await accounts.find("ada@souk.test")
    assert kept
    assert kept.password_hash == "first"
