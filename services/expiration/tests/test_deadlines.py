"""Deadlines in a real Redis: claims are exclusive, leased and never early; an incomplete set is noticed."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from expiration.deadlines import Deadlines, Incomplete

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = timedelta(seconds=10)


@dataclass
class Clock:
    """A clock that moves when it is set."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def deadlines(redis: Redis, clock: Clock) -> Deadlines:
    """A complete set without any deadline."""
    first = Deadlines(redis, lease=LEASE, clock=clock)
    assert await first.begin_rebuild()
    await first.rebuild({}, complete=True)
    return first


@pytest.fixture
def second(redis: Redis, clock: Clock) -> Deadlines:
    """The same set, as another worker sees it."""
    return Deadlines(redis, lease=LEASE, clock=clock)


async def test_what_is_due_is_claimed_in_the_order_of_the_deadlines(deadlines: Deadlines) -> None:
    for order, ago in (("b", 2), ("a", 1), ("c", 3)):
        await deadlines.add(order, NOON - timedelta(seconds=ago))
    await deadlines.add("later", NOON + timedelta(seconds=7))

    assert list((await deadlines.claim(2)).orders) == ["c", "b"]
    rest = await deadlines.claim(2)
    assert list(rest.orders) == ["a"]
    assert rest.idle == timedelta(seconds=7)


async def test_nothing_is_due_a_microsecond_early(deadlines: Deadlines, clock: Clock) -> None:
    moment = NOON + timedelta(microseconds=1_001)
    await deadlines.add("order", moment)

    for clock.now in (NOON, NOON + timedelta(milliseconds=1), moment - timedelta(microseconds=1)):
        assert not (await deadlines.claim(1)).orders

    clock.now = NOON + timedelta(milliseconds=2)  # the first whole millisecond at which it is over
    assert (await deadlines.claim(1)).orders


async def test_workers_that_claim_at_once_never_claim_the_same(deadlines: Deadlines, second: Deadlines) -> None:
    orders = {f"order-{i}" for i in range(1_000)}
    await asyncio.gather(*(deadlines.add(order, NOON) for order in orders))

    claims = await asyncio.gather(*(worker.claim(30) for worker in (deadlines, second) * 20))

    claimed = [order for claim in claims for order in claim.orders]
    assert len(claimed) == len(set(claimed)) == 1_000
    assert set(claimed) == orders


async def test_a_dead_worker_gives_its_claims_back_when_the_lease_is_over(
    deadlines: Deadlines, second: Deadlines, clock: Clock
) -> None:
    await deadlines.add("order", NOON)
    assert (await deadlines.claim(1)).orders

    clock.now += LEASE - timedelta(milliseconds=1)
    assert not (await second.claim(1)).orders
    clock.pass_by(milliseconds=1)
    assert list((await second.claim(1)).orders) == ["order"]


async def test_what_the_others_were_told_is_forgotten_and_the_rest_is_due_as_before(
    deadlines: Deadlines, second: Deadlines, clock: Clock
) -> None:
    for order, ago in (("first", 3), ("second", 2), ("third", 1)):
        await deadlines.add(order, NOON - timedelta(seconds=ago))

    claim = await deadlines.claim(10)
    await deadlines.settle(claim, ["second"])

    again = await second.claim(10)
    assert list(again.orders) == ["first", "third"]
    await second.settle(again, ["first", "third"])
    clock.now += 2 * LEASE
    assert not (await deadlines.claim(10)).orders


@pytest.mark.parametrize("reported", [["order"], []])
async def test_a_worker_that_was_too_slow_leaves_the_next_ones_claim_alone(
    reported: list[str], deadlines: Deadlines, second: Deadlines, clock: Clock
) -> None:
    await deadlines.add("order", NOON)
    slow = await deadlines.claim(1)
    clock.now += LEASE
    assert (await second.claim(1)).orders

    await deadlines.settle(slow, reported)

    assert not (await deadlines.claim(1)).orders, "still the second worker's"
    clock.now += LEASE
    assert (await deadlines.claim(1)).orders, "and not forgotten"


async def test_adding_again_moves_no_deadline_and_breaks_no_claim(deadlines: Deadlines, clock: Clock) -> None:
    await deadlines.add("order", NOON)
    claim = await deadlines.claim(1)

    await deadlines.add("order", NOON)
    assert not (await deadlines.claim(1)).orders
    await deadlines.settle(claim, ["order"])

    clock.now += 2 * LEASE
    assert not (await deadlines.claim(1)).orders


async def test_an_order_that_was_dropped_and_added_under_a_claim_stays(deadlines: Deadlines) -> None:
    await deadlines.add("order", NOON)
    claim = await deadlines.claim(1)

    await deadlines.drop("order")
    await deadlines.add("order", NOON)
    await deadlines.settle(claim, ["order"])

    assert (await deadlines.claim(1)).orders


async def test_a_dropped_order_is_never_due_even_if_it_was_claimed(deadlines: Deadlines, clock: Clock) -> None:
    await deadlines.add("waiting", NOON)
    await deadlines.drop("waiting")
    await deadlines.add("claimed", NOON)
    claim = await deadlines.claim(10)
    await deadlines.drop("claimed")

    await deadlines.settle(claim, [])

    clock.now += 2 * LEASE
    assert not (await deadlines.claim(10)).orders


async def test_what_is_added_and_dropped_at_once_is_dropped(deadlines: Deadlines) -> None:
    await asyncio.gather(
        *(deadlines.add(f"order-{i}", NOON) for i in range(50)),
        *(deadlines.drop(f"order-{i}") for i in range(50) if i != 7),
    )
    assert list((await deadlines.claim(100)).orders) == ["order-7"]


async def test_nothing_is_claimed_from_a_redis_that_is_new_or_was_emptied(deadlines: Deadlines, redis: Redis) -> None:
    await deadlines.add("order", NOON)
    await redis.flushall()
    await deadlines.add("another", NOON)

    with pytest.raises(Incomplete):
        await deadlines.claim(1)


async def test_a_rebuild_brings_back_what_is_not_settled(deadlines: Deadlines, redis: Redis) -> None:
    await redis.flushall()
    assert await deadlines.begin_rebuild()
    await deadlines.rebuild({"open": NOON, "paid": NOON, "settled before": None})
    with pytest.raises(Incomplete):
        await deadlines.claim(10)
    await deadlines.rebuild({"paid": None, "opened": NOON}, complete=True)

    assert set((await deadlines.claim(10)).orders) == {"open", "opened"}


async def test_a_rebuild_that_redis_forgot_begins_anew(deadlines: Deadlines, redis: Redis) -> None:
    await redis.flushall()
    assert await deadlines.begin_rebuild()
    await deadlines.rebuild({"first": NOON})
    await redis.flushall()

    with pytest.raises(Incomplete):
        await deadlines.rebuild({"second": NOON}, complete=True)
    with pytest.raises(Incomplete):
        await deadlines.claim(1)


async def test_one_worker_rebuilds_and_another_takes_over_from_a_dead_one(
    deadlines: Deadlines, second: Deadlines, redis: Redis
) -> None:
    await redis.flushall()
    assert await deadlines.begin_rebuild()
    assert not await second.begin_rebuild()
    assert await deadlines.begin_rebuild(), "its own, which failed midway, it may begin anew"

    assert 0 < await redis.pttl("rebuilding") <= 15_000
    await redis.delete("rebuilding")  # what time does to the lease of a dead worker
    assert await second.begin_rebuild()
    with pytest.raises(Incomplete):
        await deadlines.rebuild({}, complete=True)
    await second.rebuild({"order": NOON}, complete=True)
    assert (await deadlines.claim(1)).orders
