"""Causes the faults of a plan, each for its time, and heals everything at the end."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import nats
import redis.asyncio
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError
from pymongo.errors import ConnectionFailure
from redis.exceptions import RedisError

from payments.gateways.sandbox import REFERENCE, SIGNATURE, Notice, signature
from tests.chaos.history import History
from tests.chaos.people import TRUST
from tests.chaos.plan import Fault
from tests.chaos.proxy import Wire
from tests.chaos.repeats import Place, Repeats
from tests.chaos.world import World

UNREADABLE = b'{"order_id": '
"""Not an event: the JSON is cut off."""

FILLER = "FILLER"
PIECE = bytes(1_000_000)

SLOW = 0.15
"""Delay of each piece of data on a slow connection, in seconds."""

IMPOSSIBLE = (NatsError, RedisError, ConnectionFailure, OSError, httpx.TransportError, TimeoutError)
"""Errors which mean that another fault made this one impossible."""


@dataclass(frozen=True)
class FaultResult:
    """A fault that happened from `began` to `ended` (Unix seconds), or that was impossible; `note` then says why."""

    fault: Fault
    began: float
    ended: float
    happened: bool
    note: str


@dataclass
class Faults:
    """Causes faults in a running world. Made by `connected`."""

    world: World
    history: History
    bus: Client
    chance: random.Random
    results: list[FaultResult]
    """The outcome of each fault is appended here."""
    unreadable: dict[Place, str] = field(default_factory=dict)
    """The subjects of messages that were sent to become dead letters."""

    def __post_init__(self) -> None:
        self._js = self.bus.jetstream(timeout=10)
        self._repeats = Repeats(self._js, self.chance)
        self._kinds: dict[str, Callable[[Fault], Awaitable[object]]] = {
            "kill": lambda fault: self.world.kill(fault.target),
            "pause": self._pause,
            "long pause": self._pause,
            "cut": self._on_wire(Wire.cut),
            "slow": self._on_wire(lambda wire: wire.slow_down(SLOW)),
            "hold": self._on_wire(Wire.hold),
            "hold requests": self._on_wire(Wire.hold_requests),
            "hold answers": self._on_wire(Wire.hold_answers),
            "black hole": self._on_wire(Wire.hold),
            "repeat events": lambda _: self._repeats.new(),
            "shuffle old events": lambda _: self._repeats.old(),
            "repeat webhooks": lambda _: self._repeat_webhooks(),
            "unreadable event": self._send_unreadable,
            "full bus": self._fill_bus,
            "full redis": self._fill_redis,
            "empty redis": lambda _: self._empty_redis(),
            **self.world.more_faults(),
        }

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, world: World, history: History, seed: int, results: list[FaultResult]
    ) -> AsyncIterator["Faults"]:
        """Connect to the bus of a running world."""

        async def quiet(_: Exception) -> None:
            """Ignore errors: faults kill the bus."""

        bus = await nats.connect(
            world.bus_url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=quiet
        )
        try:
            yield cls(world, history, bus, random.Random(seed), results)
        finally:
            await bus.close()

    async def cause_all(self, plan: Sequence[Fault]) -> None:
        """Cause every fault of the plan at its time from now; return when the last one is over."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
                group.create_task(self.cause(fault))

    async def cause(self, fault: Fault) -> None:
        """Cause one fault, and return when it is over."""
        began, note, happened = time.time(), "", True
        act = self._kinds["kill" if fault.kind.startswith("kill ") else fault.kind]
        try:
            result = await act(fault)
            note = f"{result} of them" if isinstance(result, int) else str(result or "")
        except IMPOSSIBLE as error:
            note, happened = f"{type(error).__name__}: {error}", False
        self.results.append(FaultResult(fault, began, time.time(), happened, note))

    async def heal(self) -> None:
        """End every fault and wait until everything answers."""
        await self.world.heal()
        await self._empty_bus()
        await self._free_redis()

    async def _pause(self, fault: Fault) -> None:
        child = self.world.supervisors[fault.target].child
        child.send(signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        child.send(signal.SIGCONT)

    def _on_wire(self, begin: Callable[[Wire], None]) -> Callable[[Fault], Awaitable[object]]:
        async def act(fault: Fault) -> None:
            wire = self.world.wires[fault.target]
            begin(wire)
            await asyncio.sleep(fault.seconds)
            wire.heal()

        return act

    async def _repeat_webhooks(self) -> int:
        """Send webhooks of the provider again, in another order, for payments of any age, each twice."""
        known = [o.body["id"] for o in self.history.of("pay") if o.status == 201]
        payments = self.chance.sample(known, min(10, len(known))) * 2
        self.chance.shuffle(payments)
        async with httpx.AsyncClient(base_url=self.world.url, timeout=5, verify=TRUST) as http:
            for payment in payments:
                body = Notice(id=f"evt_{payment}_again", reference=REFERENCE + payment).model_dump_json().encode()
                now = int(time.time())
                signed = f"t={now},v1={signature(self.world.keys.password('webhook'), now, body)}"
                await http.post("/api/payments/webhook", content=body, headers={SIGNATURE: signed})
        return len(payments)

    async def _send_unreadable(self, fault: Fault) -> None:
        ack = await self._js.publish(fault.target, UNREADABLE)
        self.unreadable[Place(ack.stream, ack.seq)] = fault.target

    async def _fill_bus(self, fault: Fault) -> int:
        """Store data until the bus refuses it. Return the number of megabytes.

        Once there is room again, members that cannot go on by themselves are started again.
        """
        config = StreamConfig(
            name=FILLER,
            subjects=["filler.>"],
            storage=StorageType.FILE,
            max_bytes=-1,
            num_replicas=self.world.stream_copies,  # Every member is full.
        )
        await self._js.add_stream(config)
        pieces = 0
        try:
            with contextlib.suppress(APIError):
                while True:
                    await self._js.publish("filler.piece", PIECE)
                    pieces += 1
            await asyncio.sleep(fault.seconds)
        finally:
            await self._empty_bus()
            await self.world.restart_stuck()
        return pieces

    async def _empty_bus(self) -> None:
        for _ in range(20):
            try:
                await self._js.delete_stream(FILLER)
            except NotFoundError:
                return
            except IMPOSSIBLE:
                await asyncio.sleep(0.5)

    async def _fill_redis(self, fault: Fault) -> None:
        """Make Redis refuse every write because its memory is full."""
        async with redis.asyncio.from_url(self.world.redis_url) as client:
            await client.config_set("maxmemory", "1")
            await asyncio.sleep(fault.seconds)
            await client.config_set("maxmemory", "0")

    async def _free_redis(self) -> None:
        async with redis.asyncio.from_url(self.world.redis_url) as client:
            await client.config_set("maxmemory", "0")

    async def _empty_redis(self) -> None:
        async with redis.asyncio.from_url(self.world.redis_url) as client:
            await client.flushall()
