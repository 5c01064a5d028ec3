"""A member that has just copied its data may not have the keys yet that sign the cluster's time.

Until it has them, it refuses what clients send with code 211: the call was valid and may succeed later.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from fastapi import APIRouter
from pymongo import InsertOne

from common.http.app import Running, create_app
from common.mongo.client import AWAY, Database, write_all
from infra.servers.mongo_trio import MongoTrio
from tests.support.serving import running

pytestmark = pytest.mark.prove

KEY_NOT_FOUND = 211
COMMANDS = ["find", "getMore", "insert", "update", "aggregate", "commitTransaction"]


@asynccontextmanager
async def without_keys(trio: MongoTrio) -> AsyncIterator[None]:
    """Let the primary refuse every call inside the context."""
    primary = await trio.primary()
    data = {"failCommands": COMMANDS, "errorCode": KEY_NOT_FOUND}
    await primary.ask("configureFailPoint", value="failCommand", mode="alwaysOn", data=data)
    try:
        yield
    finally:
        await primary.ask("configureFailPoint", value="failCommand", mode="off")


async def in_transaction(db: Database) -> None:
    async with db.client.start_session() as session, await session.start_transaction():
        await db.chairs.delete_one({"_id": "stool"}, session=session)


async def page_by_page(db: Database) -> None:
    await db.chairs.find({}, batch_size=1).to_list()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda db: db.chairs.find_one({"_id": "chair"}), id="find"),
        pytest.param(page_by_page, id="find many"),
        pytest.param(lambda db: db.chairs.insert_one({"_id": "table"}), id="insert"),
        pytest.param(lambda db: write_all(db.chairs, [InsertOne({"_id": "table"})]), id="bulk write"),
        pytest.param(lambda db: db.chairs.update_one({"_id": "chair"}, {"$set": {"seat": "red"}}), id="update"),
        pytest.param(lambda db: db.chairs.aggregate([{"$match": {}}]), id="aggregate"),
        pytest.param(in_transaction, id="commit"),
    ],
)
async def test_a_call_that_a_member_without_keys_refuses_may_succeed_later(
    mongo_trio: MongoTrio, replicated_db: Database, call: Callable[[Database], Awaitable[object]]
) -> None:
    await replicated_db.chairs.insert_many([{"_id": "chair"}, {"_id": "stool"}])

    async with without_keys(mongo_trio):
        with pytest.raises(AWAY):
            await call(replicated_db)

    await call(replicated_db)


async def test_a_request_that_meets_a_member_without_keys_is_answered_503(
    mongo_trio: MongoTrio, replicated_db: Database
) -> None:
    router = APIRouter()

    @router.get("/chairs")
    async def chairs() -> int:
        return len(await replicated_db.chairs.find().to_list())

    @asynccontextmanager
    async def start() -> AsyncIterator[Running]:
        yield Running([], {})

    async with running(create_app("test", router, start, away=AWAY)) as client, without_keys(mongo_trio):
        answer = await client.get("/chairs")

    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1")
