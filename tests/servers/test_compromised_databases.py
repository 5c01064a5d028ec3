"""Somebody has broken into a service and has its passwords: what they may do in its database is in the docs."""

import contextlib
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from infra.local.stack.keys import Keys
from infra.local.stack.ports import Ports
from infra.local.stack.servers import make_servers
from infra.servers.mongo import MongoServer
from infra.servers.redis import COMMANDS, KEYS, RedisServer
from infra.servers.server import connection
from infra.services import ROOT, SERVICES
from tests.k8s.objects import Objects, render_all

pytestmark = pytest.mark.servers

OWNERS = [service.name for service in SERVICES if service.uses == "mongod"]
PASSWORD = "secret-1"
UNAUTHORIZED = 13
PLACES = ["laptop", "cluster"]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """The cluster's configuration as kustomize renders it."""
    return render_all(tmp_path_factory.mktemp("manifests"))["prod"]


# MongoDB


@pytest_asyncio.fixture(params=PLACES, scope="module")
async def mongo(
    request: pytest.FixtureRequest, production: Objects, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MongoServer]:
    """The MongoDB of a laptop, or one with the users of all those of a cluster; a secret in each database."""
    folder = tmp_path_factory.mktemp("mongo")
    server = make_servers(folder, Ports(0), Keys(folder / "secrets"))["mongod"]
    assert isinstance(server, MongoServer)
    if request.param == "cluster":
        server = MongoServer(folder / "mongod", users={})
    await server.start()
    try:
        async with server.administrator() as client:
            if request.param == "cluster":
                server.users = dict.fromkeys(OWNERS, PASSWORD)
                for one in production.of("MongoDBCommunity"):
                    [user] = one["spec"]["users"]
                    granted = [{"role": role["name"], "db": role["db"]} for role in user["roles"]]
                    await client[user["db"]].command("createUser", user["name"], pwd=PASSWORD, roles=granted)
            for name in OWNERS:
                await client[name].secrets.insert_one({"_id": 1})
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def intruder(server: MongoServer, name: str) -> AsyncIterator[AsyncMongoClient[Json]]:
    """A connection with the password of a service."""
    client: AsyncMongoClient[Json] = AsyncMongoClient(server.url_for(name))
    try:
        yield client
    finally:
        await client.close()


def attempts(client: AsyncMongoClient[Json], name: str) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    """Everything that the user of a service should not be able to do, with a name for it."""
    commands: list[tuple[str, Json]] = [
        *((other, {"find": "secrets"}) for other in OWNERS if other != name),
        *((other, {"insert": "secrets", "documents": [{"_id": 2}]}) for other in OWNERS if other != name),
        *((other, {"delete": "secrets", "deletes": [{"q": {}, "limit": 0}]}) for other in OWNERS if other != name),
        *((other, {"drop": "secrets"}) for other in OWNERS if other != name),
        *((database, {"listCollections": 1}) for database in (*OWNERS, "admin", "local") if database != name),
        *((database, {"dropDatabase": 1}) for database in (*OWNERS, "admin")),
        *((database, {"createUser": "evil", "pwd": "x", "roles": []}) for database in (*OWNERS, "admin")),
        *((database, {"createRole": "evil", "privileges": [], "roles": []}) for database in (*OWNERS, "admin")),
        (name, {"grantRolesToUser": name, "roles": [{"role": "root", "db": "admin"}]}),
        (name, {"updateUser": name, "pwd": "mine"}),
        (name, {"profile": 2}),
        (name, {"aggregate": "secrets", "pipeline": [{"$out": {"db": "admin", "coll": "evil"}}], "cursor": {}}),
        ("admin", {"find": "system.users"}),
        ("admin", {"renameCollection": f"{name}.secrets", "to": "admin.secrets"}),
        ("local", {"find": "oplog.rs"}),
        ("local", {"find": "system.replset"}),
        ("config", {"find": "transactions"}),
        *(
            ("admin", {command: 1})
            for command in (
                "shutdown", "replSetStepDown", "replSetGetConfig", "replSetGetStatus", "getCmdLineOpts", "serverStatus",
                "currentOp", "fsync", "logRotate", "hostInfo", "top", "usersInfo",
            )
        ),
        ("admin", {"getLog": "global"}),
        ("admin", {"getParameter": "*"}),
        ("admin", {"setParameter": 1, "logLevel": 5}),
        ("admin", {"killAllSessions": []}),
    ]  # fmt: skip
    for database, command in commands:
        yield f"{database}: {command}", lambda database=database, command=command: client[database].command(command)  # type: ignore[misc]

    async def watch() -> object:
        return await client.watch(max_await_time_ms=1)

    yield "watch every database", watch


@pytest.mark.parametrize("name", OWNERS)
async def test_a_user_of_mongodb_reaches_its_own_database_only(mongo: MongoServer, name: str) -> None:
    async with intruder(mongo, name) as client:
        assert await client[name].secrets.find_one() == {"_id": 1}
        assert await client.list_database_names() == [name]
        allowed = []
        for what, attempt in attempts(client, name):
            try:
                answer = await attempt()
            except OperationFailure as error:
                if error.code != UNAUTHORIZED:
                    allowed.append(f"{what}: {error}")
            else:
                allowed.append(f"{what}: {answer}")
    assert allowed == []


async def roles(server: MongoServer) -> list[str]:
    """The rows of the table about MongoDB."""
    async with server.administrator() as client:
        found = (await client.admin.command({"usersInfo": {"forAllDBs": True}}))["users"]
    users = {user["user"]: user for user in found}
    assert set(users) == set(OWNERS)
    may = {
        name: ", ".join(f"`{role['role']}` in the database `{role['db']}`" for role in user["roles"])
        for name, user in users.items()
    }
    return [f"| {name} | MongoDB | {may[name]} |" for name in OWNERS]


# Redis


class ClusterRedis(RedisServer):
    """Redis as a cluster starts it, but for TLS, which the wheel's Valkey cannot speak: test_encrypted.py has that."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        super().__init__(folder, expiration_password=PASSWORD)
        self._cluster_command = command

    def command(self) -> Sequence[str | Path]:
        """See `Child`."""
        binary, _ = super().command()
        options = [option.replace("$(REDIS_PASSWORD)", PASSWORD) for option in self._cluster_command[1:]]
        here = [f"--dir {shlex.quote(str(self.folder / 'data'))}", f"--port {self.port}", "--bind 127.0.0.1"]
        return [binary, *(option for option in options if not option.startswith(("--dir", "--port", "--tls"))), *here]

    async def answers(self) -> bool:
        """See `Child`."""
        async with connection(self.port):
            pass
        async with Redis.from_url(self.expiration_url) as redis:
            return bool(await redis.ping())


@pytest_asyncio.fixture(params=PLACES, scope="module")
async def redis_server(
    request: pytest.FixtureRequest, production: Objects, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RedisServer]:
    """The Redis of a laptop or of a cluster."""
    folder = tmp_path_factory.mktemp("redis")
    server = make_servers(folder, Ports(0), Keys(folder / "secrets"))["redis"]
    assert isinstance(server, RedisServer)
    if request.param == "cluster":
        [container] = production.one("StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
        server = ClusterRedis(folder / "cluster", container["command"])
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


REFUSED = (
    "ACL LIST", "ACL WHOAMI", "BGREWRITEAOF", "BGSAVE", "CLIENT KILL TYPE normal", "CLIENT LIST", "CONFIG GET *",
    "CONFIG SET maxmemory 1", "DBSIZE", "EVAL 'return 1' 0", "FAILOVER", "FLUSHALL", "FLUSHDB",
    "FUNCTION LIST", "GET secret", "KEYS *", "MIGRATE localhost 1 deadlines 0 1", "MODULE LIST", "MONITOR",
    "PSUBSCRIBE *", "PUBLISH evil 1", "REPLICAOF NO ONE", "RESTORE deadlines 0 x", "SAVE", "SCAN 0", "SCRIPT FLUSH",
    "SCRIPT KILL", "SET evil 1", "SHUTDOWN NOSAVE", "SLOWLOG GET", "SUBSCRIBE evil", "SWAPDB 0 1",
    "XADD deadlines * a b", "ZADD evil 1 a",
)  # fmt: skip


@pytest.mark.parametrize("command", REFUSED)
async def test_the_user_of_redis_does_only_what_expiration_does(redis_server: RedisServer, command: str) -> None:
    async with Redis.from_url(redis_server.expiration_url) as redis:
        with pytest.raises(NoPermissionError):
            await redis.execute_command(*shlex.split(command))  # type: ignore[no-untyped-call]


async def test_a_script_of_the_user_may_not_do_more(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.expiration_url) as redis:
        digest = await redis.script_load("return redis.pcall('FLUSHALL')")
        with pytest.raises(ResponseError, match="no permissions to run the 'flushall' command"):
            await redis.evalsha(digest, 0)


async def test_nobody_else_is_let_in(redis_server: RedisServer) -> None:
    async with Redis(port=redis_server.port) as redis:
        with pytest.raises(AuthenticationError):
            await redis.ping()


def listed(what: Sequence[str]) -> str:
    """Names as a cell of the table has them."""
    return ", ".join(f"`{one}`" for one in what)


async def test_what_the_users_may_do_is_what_the_documentation_says(
    mongo: MongoServer, redis_server: RedisServer
) -> None:
    page = (ROOT / "docs/decisions/database-permissions.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| user ")]
    if redis_server.password:
        async with Redis.from_url(redis_server.url) as redis:
            acl: dict[str, Any] = dict(await redis.acl_getuser("expiration") or {})
        assert (acl["keys"], acl["channels"], acl["selectors"]) == ([f"~{key}" for key in KEYS], [], [])
        assert (acl["categories"], sorted(acl["commands"])) == (["-@all"], [f"+{command}" for command in COMMANDS])
    redis_row = f"| expiration | Redis | {listed(COMMANDS)}, with the keys {listed(KEYS)} |"
    assert rows == [*await roles(mongo), redis_row]
