"""Deadlines that are no longer what the stream says: the running worker is made to read them again."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from redis.asyncio import Redis

from common import projections as projections_module
from common.projections import Difference, Projection, rebuild
from expiration.deadlines import Deadlines
from expiration.projections import opened
from tests.support.waiting import eventually

from .conftest import World, cancelled


def until_read_again(deadlines: Projection, redis: Redis) -> Callable[[Sequence[Difference]], Awaitable[None]]:
    """The repair of the deadlines, which leaves the rest to the worker, and waits here until that has done it."""
    repair = deadlines.repair

    async def repaired(differences: Sequence[Difference]) -> None:
        await repair(differences)
        await eventually(lambda: redis.exists("marker"))

    return repaired


async def test_deadlines_that_were_lost_moved_or_made_up_are_mended(
    world: World, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections_module, "SETTLE_SECONDS", 0.1)
    lost, moved, _, settled = [await world.held(900) for _ in range(4)]
    await world.events.deliver(cancelled(settled))
    truth = await redis.zrange("deadlines", 0, -1, withscores=True)

    async with opened() as [deadlines]:
        monkeypatch.setattr(deadlines, "repair", until_read_again(deadlines, redis))
        assert await rebuild(deadlines, swap=False) == 0

        await redis.zrem("deadlines", lost.order_id)
        await redis.zincrby("deadlines", 60_000, moved.order_id)
        await redis.zadd("deadlines", {settled.order_id: 4_000_000_000_000, "stranger": 4_000_000_000_000})

        assert await rebuild(deadlines, swap=False) == 4
        assert await rebuild(deadlines, swap=True) == 0
    assert await redis.zrange("deadlines", 0, -1, withscores=True) == truth


async def test_deadlines_are_shown_by_order(world: World, redis: Redis) -> None:
    first, second = [await world.held(900) for _ in range(2)]

    due = await Deadlines(redis).due([first.order_id, "nobody", second.order_id])

    assert set(due) == {first.order_id, second.order_id}
