"""A write that a change of the primary interrupts may have happened: its caller hears that the server is away."""

import asyncio

import pytest
from pymongo.read_concern import ReadConcern

from common.mongo.client import AWAY, Database
from infra.servers.mongo_trio import MongoTrio
from tests.support.waiting import eventually

pytestmark = pytest.mark.prove


async def test_a_write_that_waits_for_the_majority_while_the_primary_steps_down(
    mongo_trio: MongoTrio, replicated_db: Database
) -> None:
    await replicated_db.chairs.insert_one({"_id": "chair"})
    await mongo_trio.hold_back()
    local = replicated_db.chairs.with_options(read_concern=ReadConcern("local"))
    writing = asyncio.create_task(replicated_db.chairs.update_one({"_id": "chair"}, {"$set": {"seat": "red"}}))
    try:
        await eventually(lambda: local.find_one({"seat": "red"}))
        await mongo_trio.step_down()
        with pytest.raises(AWAY):
            await writing
    finally:
        await mongo_trio.let_go()
