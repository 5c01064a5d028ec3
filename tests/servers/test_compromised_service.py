"""Somebody has broken into a service and has its passwords: what they may do on the bus is what stands in the docs."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext

from common.bus.archive import ARCHIVED, archive_subject
from common.bus.connection import heard
from common.bus.provision import provision
from common.bus.streams import EVERY_STREAM
from infra.bus import ARCHIVIST, PROVISIONER, bus_users, durables
from infra.k8s.derived import USERS
from infra.local.stack.keys import Keys
from infra.local.stack.ports import Ports
from infra.local.stack.servers import make_servers
from infra.servers.nats import NatsServer
from infra.services import NAMES, ROOT, SERVICES
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

DESTROY = ("DELETE", "PURGE", "UPDATE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE")
"""What can be done to a stream."""

PASSWORD = "secret-1"


class ClusterNats(NatsServer):
    """A bus with the users of the cluster's configuration."""

    def url_for(self, name: str) -> str:
        """See `NatsServer`."""
        return f"nats://{name}:{PASSWORD}@127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """See `Child`."""
        binary, option, file = super().command()
        conf = Path(file)
        users = ROOT / "infra/k8s/base/nats/users.conf"
        (self.folder / "users.conf").write_text(users.read_text())
        conf.write_text(f"{conf.read_text().strip().strip('{}')}\ninclude users.conf\n")
        return [binary, option, file]

    def environment(self) -> Mapping[str, str]:
        """See `Child`."""
        return os.environ | {name.upper(): f'"{PASSWORD}"' for name in USERS}


@dataclass(frozen=True)
class Attempt:
    """A message that the intruder sends."""

    subject: str
    body: bytes = b""
    reply: str = ""


class Bus:
    """A bus with one event in each stream, which every durable has in hand and not acknowledged."""

    def __init__(self, server: NatsServer, client: Client, in_hand: Mapping[str, str]) -> None:
        self.server = server
        self.client = client
        self.js = client.jetstream()
        self.in_hand = in_hand
        """The subject that acknowledges what a durable has in hand, by the durable's name."""

    async def worked_off(self) -> None:
        """Wait until the bus has done whatever it was told: it takes messages of a stream or durable in their order."""
        for durable in durables():
            await self.client.request(self.in_hand[durable.name], b"+WPI", timeout=30)
        impossible = {"Nats-Expected-Last-Sequence": "999999"}
        for stream in EVERY_STREAM:
            refused = await self.client.request(f"{stream.lower()}.refused", headers=impossible, timeout=30)
            assert b"wrong last sequence" in refused.data

    async def state(self, of: str) -> dict[str, Any]:
        """Everything on the bus that does not belong to the service `of`."""
        own = {durable.name for durable in durables() if durable.service == of}
        found: dict[str, Any] = {"streams": sorted(s.config.name or "" for s in await self.js.streams_info())}
        for name in EVERY_STREAM:
            info = await self.js.stream_info(name)
            consumers = await self.js.consumers_info(name)
            found[name] = {
                "config": info.config,
                "consumers": sorted(consumer.name for consumer in consumers),
                "acknowledged": {c.name: (c.ack_floor, c.num_ack_pending) for c in consumers if c.name not in own},
                "events": None if name == _stream(of) else info.state.messages,
                "deleted": info.state.deleted,
                "first": info.state.first_seq,
            }
        return found


@pytest_asyncio.fixture(params=["laptop", "cluster"], scope="module")
async def bus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bus]:
    """The bus of a laptop, or with the configuration of a cluster."""
    folder = tmp_path_factory.mktemp("bus")
    server = make_servers(folder, Ports(0), Keys(folder / "secrets"))["nats"]
    assert isinstance(server, NatsServer)
    if request.param == "cluster":
        server = ClusterNats(folder / "cluster")
    await server.start()
    try:
        await provision(server.url_for(PROVISIONER), durables())
        client = await nats.connect(server.url_for(PROVISIONER))
        js = client.jetstream()
        for durable in durables():
            await js.publish(durable.subject.replace(">", "anything"), b"{}")
        in_hand = {durable.name: await _taken(js, durable.stream, durable.name) for durable in durables()}
        yield Bus(server, client, in_hand)
        await client.close()
    finally:
        await server.stop()


async def _taken(js: JetStreamContext, stream: str, durable: str) -> str:
    subscription = await js.pull_subscribe_bind(durable, stream)
    [message] = await subscription.fetch(1)
    return message.reply


def _stream(service: str) -> str:
    [publishes] = [one.publishes for one in SERVICES if one.name == service]
    return (publishes or "").upper()


def attempts(name: str, bus: Bus) -> Iterator[Attempt]:
    """Everything that a service should not do, and some things that it may with answers to where they do not belong."""
    others = [durable for durable in durables() if durable.service != name]
    for stream in EVERY_STREAM:
        subjects = f"{stream.lower()}.>"
        evil = {"name": f"EVIL_{name}", "subjects": ["evil.>"], "republish": {"src": "evil.>", "dest": subjects}}
        if stream != _stream(name):
            yield Attempt(f"{stream.lower()}.forged", b"{}")
        yield Attempt(f"$JS.API.STREAM.CREATE.EVIL_{name}", json.dumps(evil).encode())
        yield from (Attempt(f"$JS.API.STREAM.{what}.{stream}", b'{"seq":1}') for what in DESTROY)
        consumer = {"stream_name": stream, "config": {"durable_name": "evil", "ack_policy": "explicit"}}
        for kind in (f"CREATE.{stream}", f"CREATE.{stream}.evil", f"DURABLE.CREATE.{stream}.evil"):
            yield Attempt(f"$JS.API.CONSUMER.{kind}", json.dumps(consumer).encode())
    for durable in others:
        yield Attempt(bus.in_hand[durable.name], b"+ACK")
        yield Attempt(f"$JS.API.CONSUMER.MSG.NEXT.{durable.stream}.{durable.name}", b"1")
    for durable in durables():
        yield Attempt(f"$JS.API.CONSUMER.DELETE.{durable.stream}.{durable.name}")
    yield from _redirected(name)


def _redirected(name: str) -> Iterator[Attempt]:
    """Requests that are allowed, whose answer would be an event of another service."""
    [user] = [user for user in bus_users(dict.fromkeys(USERS, "")) if user.name == name]
    victim = "orders.paid" if name == "payments" else "payments.captured"
    bodies = {"$JS.API.DIRECT.GET.": b'{"seq":1}', "$JS.API.STREAM.MSG.GET.": b'{"seq":1}'}
    for subject in user.asks:
        if subject.startswith(("$JS.API.", f"{_stream(name).lower()}.")):
            body = next((body for start, body in bodies.items() if subject.startswith(start)), b"1")
            yield Attempt(subject.replace(">", "anything"), body, reply=victim)


async def _ignore(_: Exception) -> None:
    """The server tells the intruder what it refuses."""


@contextlib.asynccontextmanager
async def intruder(bus: Bus, name: str) -> AsyncIterator[Client]:
    """A connection with the password of a service."""
    client = await nats.connect(bus.server.url_for(name), error_cb=_ignore, allow_reconnect=False, connect_timeout=30)
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_cannot_forge_acknowledge_purge_delete_create_or_republish(bus: Bus, name: str) -> None:
    before = await bus.state(name)
    async with intruder(bus, name) as client:
        for attempt in attempts(name, bus):
            await client.publish(attempt.subject, attempt.body, reply=attempt.reply)
        await client.request("$JS.API.INFO", timeout=30)  # last: the others have arrived
    await bus.worked_off()
    assert await bus.state(name) == before


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_cannot_hear_what_others_say(bus: Bus, name: str) -> None:
    subjects: list[str] = []

    async def hear(message: Any) -> None:
        subjects.append(message.subject)

    async with intruder(bus, name) as client:
        for subject in (">", "_INBOX.>", "*.>", "$JS.>", "books.>", "people.>", "orders.>", "users.>", "deliver.>"):
            await client.subscribe(subject, cb=hear)
        await heard(client)
        for other in (one for one in NAMES if one != name):
            async with intruder(bus, other) as victim:
                await victim.request("$JS.API.STREAM.INFO.USERS", timeout=30)
        await bus.js.publish("users.registered", b"somebody's address")
        own = client.new_inbox()
        await client.publish("$JS.API.STREAM.INFO.USERS", reply=own)

        async def only_its_own() -> bool:
            return own in subjects

        await eventually(only_its_own)
    assert subjects == [own]


async def answered(client: Client, subjects: Sequence[str], expected: Set[str]) -> set[str]:
    """The subjects on which the client is answered. Who answers may be known to the server a moment later."""

    async def is_answered(subject: str) -> bool:
        with contextlib.suppress(NoRespondersError, NatsTimeoutError):
            await client.request(subject, b"", timeout=0.5)
            return True
        return False

    for subject in expected:
        await eventually(partial(is_answered, subject), why=f"{subject} is not answered")
    others = [subject for subject in subjects if subject not in expected]
    answers = await asyncio.gather(*map(is_answered, others))
    return {*expected, *(subject for subject, answer in zip(others, answers, strict=True) if answer)}


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_learns_of_people_what_it_needs(bus: Bus, name: str) -> None:
    [service] = [service for service in SERVICES if service.name == name]
    subjects = sorted({subject for other in SERVICES for subject in other.looks_up})

    async def answer(request: Any) -> None:
        await request.respond(b"somebody's address")

    async with contextlib.AsyncExitStack() as exits:
        for other in SERVICES:
            answering = await exits.enter_async_context(intruder(bus, other.name))
            for subject in other.answers:
                await answering.subscribe(subject, cb=answer)
            await heard(answering)
        client = await exits.enter_async_context(intruder(bus, name))
        learned = await answered(client, subjects, set(service.looks_up))
    assert learned == set(service.looks_up)


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_reads_the_archive_of_those_streams_that_it_reads(bus: Bus, name: str) -> None:
    [user] = [user for user in bus_users(dict.fromkeys(USERS, "")) if user.name == name]
    may = {archive_subject(stream) for stream in ARCHIVED if f"$JS.API.DIRECT.GET.{stream}" in user.asks}

    async def answer(request: Any) -> None:
        await request.respond(b"old events")

    async with intruder(bus, ARCHIVIST) as audit, intruder(bus, name) as client:
        for stream in ARCHIVED:
            await audit.subscribe(archive_subject(stream), cb=answer)
        await heard(audit)
        read = await answered(client, [archive_subject(stream) for stream in ARCHIVED], may)
    assert read == may


def documented(name: str) -> str:
    """The row of the decision page about a service, of what its user is given beyond what every service has."""
    [user] = [user for user in bus_users(dict.fromkeys(USERS, "")) if user.name == name]
    usual = {"$JS.API.INFO", "$JS.API.STREAM.MSG.GET.TRIES"}
    usual |= {f"$JS.API.STREAM.INFO.{stream}" for stream in EVERY_STREAM}
    usual |= {f"{failures}.{name}.>" for failures in ("dead_letters", "retries", "tries")}
    for durable in (durable for durable in durables() if durable.service == name):
        place = f"{durable.stream}.{durable.name}"
        usual |= {f"$JS.API.CONSUMER.{what}.{place}" for what in ("INFO", "MSG.NEXT")} | {f"$JS.ACK.{place}.>"}
    assert usual <= set(user.asks)
    more = [subject for subject in user.asks if subject not in usual]
    read = sorted({subject.rpartition(".")[2] for subject in more if subject.startswith("$JS.API.DIRECT.GET.")})
    read_by = {f"$JS.API.{what}.{stream}" for stream in read for what in ("STREAM.MSG.GET", "DIRECT.GET")}
    read_by |= {archive_subject(stream) for stream in read}
    lists = {f"$JS.API.CONSUMER.LIST.{stream}" for stream in EVERY_STREAM}
    asks = [f"`{subject}`" for subject in more if subject not in read_by | lists]
    asks += ["the list of every stream's consumers"] if lists <= set(more) else []
    cells = (asks, read, [f"`{subject}`" for subject in user.hears], [f"`{subject}`" for subject in user.answers])
    return f"| {name} | {' | '.join(', '.join(cell) for cell in cells)} |"


def test_what_a_service_may_do_is_what_the_documentation_says() -> None:
    page = (ROOT / "docs/decisions/bus-permissions.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "publishes and asks" not in line]
    assert rows == [documented(name) for name in NAMES]
