"""Leased work is finished even if the process that started it dies."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from common.leased_work import LeasedWork
from common.mongo.client import Database, Document
from tests.support.waiting import eventually

MILLISECOND = timedelta(milliseconds=1)
"""What BSON keeps of a time: a lease may have lost less than that."""


def leased(
    db: Database, work: Callable[[str], Awaitable[None]], *, first: float = 60, poll: float = 0.05
) -> LeasedWork:
    return LeasedWork(db.jobs, "at", work, poll_seconds=poll, first_lease=first, max_lease=4 * first, concurrency=4)


async def jobs(db: Database, count: int, *, at: datetime | None = None, name: str = "e") -> None:
    await db.jobs.insert_many([{"_id": f"{name}{n}", "at": at or datetime.now(UTC)} for n in range(count)])


async def the_job(db: Database) -> Document:
    job = await db.jobs.find_one({"_id": "e0"})
    assert job
    return job


async def test_each_is_seen_to_once_however_many_make_leased(db: Database) -> None:
    seen: Counter[str] = Counter()

    async def work(key: str) -> None:
        seen[key] += 1
        await db.jobs.update_one({"_id": key}, {"$unset": {"at": ""}})

    async def all_done() -> bool:
        return not await db.jobs.count_documents({"at": {"$exists": True}})

    await jobs(db, 50)
    async with leased(db, work).running(), leased(db, work).running():
        await eventually(all_done)

    assert seen == {f"e{n}": 1 for n in range(50)}


async def test_work_starts_when_it_is_due_and_not_earlier(db: Database) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def work(key: str) -> None:
        seen.set_result(datetime.now(UTC))

    at = datetime.now(UTC) + timedelta(seconds=0.5)
    await jobs(db, 1, at=at)
    async with leased(db, work, poll=60).running():
        assert await asyncio.wait_for(seen, 30) >= at - MILLISECOND  # Long before it looks by itself.


async def test_waking_it_starts_due_work_at_once(db: Database) -> None:
    seen = asyncio.Event()

    async def work(key: str) -> None:
        seen.set()

    leased_work = leased(db, work, poll=60)
    async with leased_work.running():
        await db.jobs.insert_one({"_id": "e0", "at": datetime.now(UTC)})
        leased_work.wake()
        await asyncio.wait_for(seen.wait(), 30)


async def test_failed_work_is_tried_again_after_growing_pauses(db: Database) -> None:
    starts: list[datetime] = []
    leases: list[datetime] = []

    async def work(key: str) -> None:
        starts.append(datetime.now(UTC))
        leases.append((await the_job(db))["at"])
        raise RuntimeError("not today")

    async def often() -> bool:
        return len(leases) >= 5

    await jobs(db, 1)
    async with leased(db, work, first=0.1, poll=60).running():
        await eventually(often)

    for start, end, seconds in zip(starts, leases, (0.1, 0.2, 0.4, 0.4, 0.4), strict=False):
        assert end <= start + timedelta(seconds=seconds)
    for (end, next_end), seconds in zip(pairwise(leases), (0.2, 0.4, 0.4, 0.4), strict=False):
        assert next_end >= end + timedelta(seconds=seconds) - MILLISECOND
    for end, next_start in zip(leases, starts[1:], strict=False):
        assert next_start >= end


async def test_work_of_a_dead_process_is_done_again_when_its_lease_ends(db: Database) -> None:
    lease_end, again = (asyncio.get_running_loop().create_future() for _ in range(2))

    async def hang(key: str) -> None:
        lease_end.set_result((await the_job(db))["at"])
        await asyncio.Event().wait()

    async def work(key: str) -> None:
        again.set_result(datetime.now(UTC))

    await jobs(db, 1)
    async with leased(db, hang, first=3).running():
        await lease_end
    async with leased(db, work).running():
        assert await again >= await lease_end


async def test_work_that_hangs_leaves_room_for_others_and_is_not_started_twice(db: Database) -> None:
    started: Counter[str] = Counter()
    released = asyncio.Event()

    async def work(key: str) -> None:
        started[key] += 1
        if key.startswith("slow"):
            await released.wait()
        await db.jobs.update_one({"_id": key}, {"$unset": {"at": ""}})

    async def leases_over() -> bool:
        return await db.jobs.count_documents({"at": {"$lte": datetime.now(UTC)}, "tries": 1}) == 3

    async def others_done() -> bool:
        return not await db.jobs.count_documents({"_id": {"$regex": "^quick"}, "at": {"$exists": True}})

    await jobs(db, 3, name="slow")
    async with leased(db, work, first=0.1).running():
        await eventually(leases_over)
        await jobs(db, 10, name="quick")
        await eventually(others_done)
        released.set()

    assert set(started.values()) == {1}


async def test_it_stops_however_busy_it_is(db: Database) -> None:
    async def work(key: str) -> None:
        await db.jobs.update_one({"_id": key}, {"$set": {"at": datetime.now(UTC)}})

    await jobs(db, 8)
    for _ in range(50):
        async with asyncio.timeout(30), leased(db, work, poll=0.001).running():
            await db.command("ping")


async def test_it_looks_for_work_through_the_index(db: Database) -> None:
    async def work(key: str) -> None: ...

    async with leased(db, work).running():
        plan = await db.jobs.find({"at": {"$exists": True}}).sort("at").limit(4).explain()

    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
