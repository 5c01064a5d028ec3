"""The ledger in memory does what the sandbox's ledger does in MongoDB: the interleavings rely on it."""

import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from common.mongo.client import Database, Document
from payments.gateways.port import GatewayRefused
from payments.gateways.sandbox_store import SandboxLedger
from tests.interleavings.ledger import MemoryLedger
from tests.interleavings.steps import Wires

STARTED = datetime(2026, 11, 28, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SEEDS = range(100)

Step = Callable[[SandboxLedger], Coroutine[Any, Any, object]]


def at_once(work: Coroutine[Any, Any, object]) -> object:
    """What a coroutine over memory returns, whose pauses nobody uses."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        return end.value


def step(rng: random.Random, key: str, now: datetime) -> Step:
    """Something that happens to a charge."""
    amount, fails_at = rng.randint(1, 100), rng.choice((None, now + SECOND))
    later = {name: now + SECOND for name in ("disputed_at", "part_refund_at") if rng.random() < 0.3}
    return rng.choice(
        (
            lambda ledger: ledger.capture(key, now, later),
            lambda ledger: ledger.end(key, "released", now),
            lambda ledger: ledger.refund(key, now, fails_at),
            lambda ledger: ledger.refund_part(key, amount, now),
            lambda ledger: ledger.refund_due_part(key, now),
            lambda ledger: ledger.fail_refund(key, "closed_account", now),
            lambda ledger: ledger.notified({"_id": key, "notify_at": now - SECOND}),
        )
    )


def charge_of(rng: random.Random, key: str) -> Document:
    """A charge that agrees at once, a little later, or never."""
    agreed = rng.choice((STARTED, STARTED, STARTED + 3 * SECOND, None))
    charge = {"_id": key, "amount": 100, rng.choice(("authorized_at", "captured_at")): agreed}
    return {**charge, "notify_at": agreed} if agreed and rng.random() < 0.5 else charge


async def test_the_same_happens_to_a_charge_in_memory_and_in_mongodb(db: Database) -> None:
    for seed in SEEDS:
        await compare(db, seed)


async def compare(db: Database, seed: int) -> None:
    rng, key, now = random.Random(seed), f"p{seed}", STARTED  # noqa: S311 - no secret
    real, model = SandboxLedger(db.charges), MemoryLedger({}, db.charges, Wires(rng), lambda _: None)
    charge = charge_of(rng, key)
    await real.add(dict(charge))
    at_once(model.add(dict(charge)))
    for number in range(12):
        do = step(rng, key, now)
        assert await answer(do(real)) == await answer(in_memory(do(model))), f"seed {seed}, step {number}"
        assert await real.find(key) == at_once(model.find(key)), f"seed {seed}, after step {number}"
        now += rng.choice((timedelta(), SECOND))


async def answer(work: Coroutine[Any, Any, object]) -> object:
    """What it answers, or that it is refused."""
    try:
        return await work
    except GatewayRefused:
        return GatewayRefused


async def in_memory(work: Coroutine[Any, Any, object]) -> object:
    """The same for a coroutine over memory."""
    return at_once(work)
