"""The laptop stack supervises what it starts. Stand-ins for the services show it; servers and gateway are real."""

import asyncio
import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from common.mongo.client import database
from infra.local.backup.cluster import ClusterEnv
from infra.local.env import Env, Unusable, read
from infra.local.stack.gateway import Route, read_routes
from infra.local.stack.keys import Keys
from infra.local.stack.lock import InUse, lock
from infra.local.stack.ports import OFFSETS
from infra.local.stack.program import passed_on
from infra.local.stack.servers import with_database
from infra.local.stack.stack import Stack
from infra.servers.process import StartFailed
from infra.services import ROOT, SERVICES
from tests.support.stacks import free_block
from tests.support.waiting import eventually, is_alive

STAND_INS = {service.name: [sys.executable, "-m", "tests.support.echo", service.name] for service in SERVICES}


class Said(list[str]):
    """What a stack said."""

    def __call__(self, name: str, line: str) -> None:
        self.append(f"{name}: {line}")


@pytest.fixture(scope="module")
def said() -> Said:
    """What the stack of stand-ins said."""
    return Said()


@pytest_asyncio.fixture(scope="module")
async def echoes(said: Said, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack of stand-ins, with two replicas of orders."""
    folder = tmp_path_factory.mktemp("echo")
    async with Stack(folder, commands=STAND_INS, replicas={"orders": 2}, say=said) as stack:
        yield stack


async def ask(stack: Stack, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the stand-in behind the gateway says."""
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.get(stack.url + path, headers=headers)
    return dict(answer.raise_for_status().json())


def test_the_routes_are_read_from_the_route_map_of_the_cluster() -> None:
    assert read_routes() == [
        Route("/api/users/me/export", "web"),
        Route("/api/users", "auth"),
        Route("/api/items", "items"),
        Route("/api/orders", "orders"),
        Route("/api/payments", "payments"),
        Route("/api/audit", "audit"),
        Route("/api/notifications", "notifications"),
        Route("/api/docs", "web"),
        Route("/api/openapi.json", "web"),
        Route("/api/asyncapi.json", "web"),
        Route("/api/tickets", "tickets"),
        Route("/", "web"),
    ]


@pytest.mark.servers
@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api/users/signin", "auth"),
        ("/api/items", "items"),
        ("/api/items?q=chair", "items"),
        ("/api/items/1/2", "items"),
        ("/api/orders/", "orders"),
        ("/api/payments/webhook", "payments"),
        ("/api/audit/orders/1", "audit"),
        ("/", "web"),
        ("/api", "web"),
        ("/api/itemsandmore", "web"),
        ("/API/items", "web"),
    ],
)
async def test_the_gateway_sends_a_path_to_its_service(echoes: Stack, path: str, service: str) -> None:
    heard = await ask(echoes, path, {"Host": "souk.test"})
    assert heard["service"] == service
    assert heard["path"] == path.partition("?")[0]


@pytest.mark.servers
async def test_the_gateway_does_not_believe_a_client_about_its_address(echoes: Stack) -> None:
    heard = await ask(echoes, "/", {"X-Forwarded-For": "203.0.113.7"})
    assert heard["forwarded_for"] == "127.0.0.1"


@pytest.mark.servers
async def test_a_service_is_told_its_own_secrets_only(echoes: Stack) -> None:
    told = {route.service: set((await ask(echoes, route.path))["variables"]) for route in read_routes()}

    assert all(variables >= {"JWT_PUBLIC_KEYS", "NATS_URL"} for variables in told.values())
    for variable, service in {
        "JWT_PRIVATE_KEY": "auth",
        "WEBHOOK_SECRET": "payments",
        "HOLD_SECONDS": "orders",
        "CSRF_SECRET": "web",
    }.items():
        assert [name for name, variables in told.items() if variable in variables] == [service]
    assert "MONGO_URL" not in told["web"]
    assert not told["orders"] & {"PYTEST_CURRENT_TEST", "REDIS_URL"}


@pytest.mark.servers
async def test_replicas_share_the_work_and_a_dead_one_fails_no_request(echoes: Stack) -> None:
    async def answering() -> int:
        return int((await ask(echoes, "/api/orders"))["process"])

    before: set[int] = set()

    async def both_answer() -> bool:
        before.add(await answering())
        return len(before) == 2

    await eventually(both_answer)
    [dead] = before & {echoes.supervisors["orders-2"].child.pid}

    await echoes.kill("orders-2")
    after: set[int] = set()

    async def the_new_one_answers() -> bool:
        after.add(await answering())
        return bool(after - before)

    await eventually(the_new_one_answers)
    assert dead not in after


@pytest.mark.servers
@pytest.mark.parametrize("name", ["auth", "mongod", "nats", "redis", "gateway"])
async def test_what_dies_is_started_again(echoes: Stack, name: str) -> None:
    child = echoes.supervisors[name].child
    before = child.pid

    await echoes.kill(name)
    await echoes.ready()

    assert child.pid != before
    assert (await ask(echoes, "/api/users"))["service"] == "auth"


@pytest.mark.servers
@pytest.mark.parametrize(
    ("service", "path", "language", "kind", "says"),
    [
        ("web", "/items/1", "de-AT", "text/html; charset=utf-8", "Diese Seite versucht es von selbst noch einmal."),
        ("web", "/", "fr", "text/html; charset=utf-8", "This page tries again by itself."),
        ("items", "/api/items", "de", "application/problem+json", '"code": "unavailable"'),
    ],
)
async def test_in_place_of_a_service_that_is_away_the_gateway_answers_in_souks_words(
    echoes: Stack, service: str, path: str, language: str, kind: str, says: str
) -> None:
    supervisor = echoes.supervisors[service]
    supervisor.release()
    await supervisor.child.stop()
    async with httpx.AsyncClient(base_url=echoes.url, timeout=30) as client:
        answer = await client.get(path, headers={"Accept-Language": language})
    await supervisor.start()

    assert answer.status_code == 502
    assert (answer.headers["content-type"], answer.headers["retry-after"]) == (kind, "5")
    assert says in answer.text
    assert ('http-equiv="refresh"' in answer.text) == (service == "web")
    await echoes.ready()
    assert (await ask(echoes, path))["service"] == service


@pytest.mark.servers
async def test_what_a_service_says_about_being_unavailable_is_not_replaced(echoes: Stack) -> None:
    async with httpx.AsyncClient(base_url=echoes.url, timeout=30) as client:
        answer = await client.get("/api/items", headers={"Echo-Status": "503"})

    assert (answer.status_code, answer.json()["service"]) == (503, "items")


@pytest.mark.servers
async def test_what_keeps_dying_is_tried_again_ever_later_and_each_time_a_line_says_so(
    echoes: Stack, said: Said
) -> None:
    for _ in range(3):
        await echoes.kill("web")
        await echoes.ready()

    deaths = [line for line in said if line.startswith("souk: web ended")]
    assert deaths == [f"souk: web ended (signal SIGKILL); next attempt in {delay} s" for delay in (0.2, 0.4, 0.8)]
    assert sum("web is back" in line for line in said) == 3


@pytest.mark.servers
async def test_the_data_is_there_again_next_time(tmp_path: Path) -> None:
    async with Stack(tmp_path, commands=STAND_INS) as first:
        async with database(first.mongo_url("items")) as items:
            await items.items.insert_one({"_id": "a chair"})
        async with Redis.from_url(first.redis_url) as redis:
            await redis.set("deadline", "1")

    async with Stack(tmp_path, commands=STAND_INS) as second:
        async with database(second.mongo_url("items")) as items:
            assert await items.items.find_one({}) == {"_id": "a chair"}
        async with Redis.from_url(second.redis_url) as redis:
            assert await redis.get("deadline") == b"1"

    assert second.keys.public_jwk == first.keys.public_jwk


def test_servers_that_run_already_are_used_and_not_started(tmp_path: Path) -> None:
    urls = {"mongod": "mongodb://db.test", "nats": "nats://bus.test", "redis": "redis://cache.test/3"}
    stack = Stack(tmp_path, servers=urls)

    assert not stack.servers
    assert stack.mongo_url("orders") == "mongodb://db.test/orders"
    assert stack.nats_url("orders") == "nats://bus.test"
    assert stack.redis_url == "redis://cache.test/3"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://db.test:27017", "mongodb://db.test:27017/orders"),
        ("mongodb://a,b,c/x?replicaSet=rs0", "mongodb://a,b,c/orders?replicaSet=rs0"),
        ("mongodb://me:pw@db.test/", "mongodb://me:pw@db.test/orders?authSource=admin"),
        ("mongodb://me:pw@db.test/souk", "mongodb://me:pw@db.test/orders?authSource=souk"),
        ("mongodb://me:pw@db.test/?authSource=x&w=1", "mongodb://me:pw@db.test/orders?authSource=x&w=1"),
    ],
)
def test_a_service_has_a_database_of_its_own_on_a_server_from_outside(url: str, expected: str) -> None:
    assert with_database(url, "orders") == expected


async def test_two_stacks_do_not_share_a_data_directory(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(InUse, match=rf"in use by another stack \(process {os.getpid()}\).*DATA_DIR="):
        await Stack(tmp_path).__aenter__()


@pytest.mark.servers
async def test_a_service_that_does_not_start_ends_the_stack_with_its_last_words(tmp_path: Path) -> None:
    broken = {"items": [sys.executable, "-c", "raise SystemExit('setting MONGO_URL is missing')"]}
    stack = Stack(tmp_path, commands={**STAND_INS, **broken})

    with pytest.raises(StartFailed, match=r"(?s)items ended at its start with code 1.*setting MONGO_URL is missing"):
        await stack.__aenter__()

    assert [child.name for child in stack.children if child.pid] == []


def test_secrets_are_made_once_and_read_by_their_owner_only(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "secrets")
    assert keys.password("orders") == Keys(tmp_path / "secrets").password("orders") != keys.password("items")
    assert keys.private_pem == Keys(tmp_path / "secrets").private_pem
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "secrets").iterdir()} == {0o600}


WITH_STAND_INS = """
import os, sys
from infra.local.stack import stack
from infra.local.__main__ import main
stack.service_command = lambda name: [sys.executable, *sys.argv[1:], name]
stack.DRAIN_SECONDS = 150
stack.Stack.quiet.__defaults__ = (float(os.environ.get("QUIET", "0.3")), 15)
raise SystemExit(main())
"""

LATE_LINES = """
import os, sys, threading
from http.server import ThreadingHTTPServer
from tests.support.echo import Echo

class Late(Echo):
    def do_GET(self):
        super().do_GET()
        if not self.path.endswith("z"):
            threading.Timer(0.1, print, [f"GET {self.path}"], {"flush": True}).start()

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Late).serve_forever()
"""


@asynccontextmanager
async def command(*stand_in: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m infra.local` with stand-ins for the services, as `make dev` runs it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITH_STAND_INS, *(stand_in or ("-m", "tests.support.echo"))),
        cwd=ROOT,
        env=passed_on() | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def lines_until(process: asyncio.subprocess.Process, start: str) -> list[str]:
    """The output up to the line that begins so."""
    assert process.stdout
    lines = []
    async with asyncio.timeout(60):
        while line := (await process.stdout.readline()).decode().rstrip("\n"):
            lines.append(line)
            if line.startswith(start):
                return lines
    raise AssertionError(f"no line {start!r} in {lines}")


async def write_a_line(stack: Stack, after: float) -> None:
    """Let the gateway write a line `after` seconds from now."""
    await asyncio.sleep(after)
    stack.gateway.last_wrote = time.monotonic()


def processes(lines: list[str]) -> dict[str, tuple[int, int]]:
    """Port and process id by name, from the table of what runs where."""
    rows = [re.fullmatch(r"souk +(\S+) +127\.0\.0\.1:(\d+) +(\d+) +[\d.]+ s", line) for line in lines]
    return {row[1]: (int(row[2]), int(row[3])) for row in rows if row}


def left_over(pids: Iterable[int]) -> list[int]:
    """Those of the processes that still live."""
    return [pid for pid in pids if is_alive(pid)]


@pytest.mark.servers
async def test_the_command_says_what_runs_where_and_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    port = free_block()
    async with command(PORT=str(port), DATA_DIR=str(tmp_path)) as process:
        lines = await lines_until(process, "ready: ")
        process.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(process.wait(), 60)

    assert lines[-1] == f"ready: http://localhost:{port}"
    assert code == 0
    started = processes(lines)
    expected = {"gateway", "mongod", "nats", "redis", "mailbox", *STAND_INS}
    assert {name: port for name, (port, _) in started.items()} == {name: port + OFFSETS[name] for name in expected}
    assert left_over(pid for _, pid in started.values()) == []


async def test_quiet_is_judged_from_the_call_on_not_from_an_old_last_line(tmp_path: Path) -> None:
    stack = Stack(tmp_path, commands=STAND_INS)
    stack.gateway.last_wrote = time.monotonic() - 5
    written = asyncio.create_task(write_a_line(stack, after=0.05))

    await stack.quiet()

    assert written.done()


@pytest.mark.servers
async def test_what_to_do_next_is_the_last_thing_printed(tmp_path: Path) -> None:
    """The services log the first requests a moment after they have answered them."""
    port = free_block()
    variables = {"PORT": str(port), "DATA_DIR": str(tmp_path), "QUIET": "2"}  # The lines may be later than they ought.
    async with command("-c", LATE_LINES, **variables) as process:
        before = await lines_until(process, "ready: ")
        after = await lines_until(process, "  make operator")
        process.send_signal(signal.SIGINT)
        rest = await lines_until(process, "souk        stopping")

    assert any("GET /api/users" in line for line in before)
    assert after[0].startswith(f"  next: make seed PORT={port} DATA_DIR={tmp_path} ")
    assert (len(after), len(rest)) == (2, 1)


@pytest.mark.servers
async def test_a_second_ctrl_c_does_not_wait_for_what_hangs(tmp_path: Path) -> None:
    async with command(PORT=str(free_block()), DATA_DIR=str(tmp_path)) as process:
        started = processes(await lines_until(process, "ready: "))
        os.kill(started["orders"][1], signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        await lines_until(process, "souk        stopping")
        process.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(process.wait(), 60)

    assert code == 0
    assert left_over(pid for _, pid in started.values()) == []


@pytest.mark.servers
async def test_nothing_outlives_a_stack_that_was_killed(tmp_path: Path) -> None:
    async with command(PORT=str(free_block()), DATA_DIR=str(tmp_path)) as process:
        started = processes(await lines_until(process, "ready: "))
        process.kill()
        await process.wait()

    async def gone() -> bool:
        return left_over(pid for _, pid in started.values()) == []

    await eventually(gone)


@pytest.mark.servers
@pytest.mark.parametrize("name", ["gateway", "orders", "nats monitoring"])
async def test_a_port_that_is_taken_is_one_sentence(name: str, tmp_path: Path) -> None:
    port = free_block()
    with socket.create_server(("127.0.0.1", port + OFFSETS[name])):
        code, errors = await failure(PORT=str(port), DATA_DIR=str(tmp_path))

    assert code == 1
    assert errors == (
        f"port {port + OFFSETS[name]}, which {name} needs, is taken by another program: "
        f"stop that one, or choose other ports, for example with PORT={port + 100}\n"
    )


async def test_a_variable_that_makes_no_sense_is_one_sentence(tmp_path: Path) -> None:
    code, errors = await failure(DATA_DIR=str(tmp_path), HOLD_SECONDS="soon")
    assert code == 1
    assert errors == "HOLD_SECONDS is 'soon', but should be a valid integer, unable to parse string as an integer\n"


@pytest.mark.parametrize("value", ["0", "1023", "65001", "-1", "8e3", "1.5", "80 80", "²"])
def test_a_port_is_a_number_that_leaves_room_above_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", value)
    with pytest.raises(Unusable, match=f"PORT is {value!r}, but should be "):
        read(Env)


def test_a_missing_variable_is_named_and_no_other_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TO", "s3://souk-backups")
    monkeypatch.setenv("NATS_URL", "nats://backup:made-up@nats:4222")
    monkeypatch.delenv("MONGO_URL", raising=False)
    with pytest.raises(Unusable) as refused:
        read(ClusterEnv)
    assert str(refused.value) == "MONGO_URL is missing"


async def failure(**variables: str) -> tuple[int | None, str]:
    """Exit code and error output of a command that cannot run."""
    async with command(**variables) as process:
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, errors.decode()
