"""A stale write is known as one on every primary, also on one that has copied its data from the others.

Such a member builds the index on `_id` last, so that it names another unique index when a write violates both.
"""

import shutil

import pytest

from auth.domain import Account, EmailTaken
from auth.store import AccountStore
from common.errors import StaleWrite
from common.mongo.client import Database
from infra.servers.mongo_trio import MongoMember, MongoTrio
from tests.failover.test_nothing_to_do import relaying
from tests.support.waiting import eventually

pytestmark = pytest.mark.prove


async def copied_anew(trio: MongoTrio) -> MongoMember:
    """A member that lost its disk, got all data from the others, and is the primary now."""
    [member, _] = await trio.secondaries()
    await member.kill()
    shutil.rmtree(member.folder / "data")
    await trio.heal()

    async def elected() -> bool:
        await member.ask("replSetStepUp")
        return await trio.primary() is member

    await eventually(elected)
    await trio.whole()
    return member


async def test_a_stale_write_is_stale_on_a_primary_that_copied_its_data(
    bus_url: str, mongo_trio: MongoTrio, replicated_db: Database
) -> None:
    async with relaying(bus_url, replicated_db) as relay:
        accounts = AccountStore(replicated_db, relay)
        await accounts.prepare()
        account = Account.register(email="ada@souk.test", name="Ada", password_hash="")
        await accounts.save(account)
        again, changed, stale = account.model_copy(update={"version": 0}), account.model_copy(), account.model_copy()
        await copied_anew(mongo_trio)

        changed.strengthen("stronger")
        await accounts.save(changed)
        for outdated in (stale, again):
            outdated.strengthen("weaker")
            with pytest.raises(StaleWrite):
                await accounts.save(outdated)
        with pytest.raises(EmailTaken):
            await accounts.save(Account.register(email="ada@souk.test", name="Eve", password_hash=""))
