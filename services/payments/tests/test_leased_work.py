"""Work that must be finished although whoever began it dies."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from common.mongo.client import Database
from payments.leased_work import Rounds
from tests.support.waiting import eventually


def rounds(db: Database, see_to: Callable[[str], Awaitable[None]], *, first: float = 60, every: float = 0.05) -> Rounds:
    return Rounds(db.errands, "at", see_to, every=every, first=first, longest=4 * first, at_once=4)


async def errands(db: Database, count: int, *, at: datetime | None = None, name: str = "e") -> None:
    await db.errands.insert_many([{"_id": f"{name}{n}", "at": at or datetime.now(UTC)} for n in range(count)])


async def test_each_is_seen_to_once_however_many_make_rounds(db: Database) -> None:
    seen: Counter[str] = Counter()

    async def see_to(key: str) -> None:
        seen[key] += 1
        await db.errands.update_one({"_id": key}, {"$unset": {"at": ""}})

    async def all_done() -> bool:
        return not await db.errands.count_documents({"at": {"$exists": True}})

    await errands(db, 50)
    async with rounds(db, see_to).running(), rounds(db, see_to).running():
        await eventually(all_done)

    assert seen == {f"e{n}": 1 for n in range(50)}


async def test_nothing_is_seen_to_before_its_time_and_then_at_once(db: Database) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def see_to(key: str) -> None:
        seen.set_result(datetime.now(UTC))

    at = datetime.now(UTC) + timedelta(seconds=0.5)
    await errands(db, 1, at=at)
    async with rounds(db, see_to, every=60).running():
        late = await seen - at

    assert timedelta() <= late < timedelta(seconds=0.4)


async def test_whoever_wakes_it_is_not_kept_waiting(db: Database) -> None:
    seen = asyncio.Event()

    async def see_to(key: str) -> None:
        seen.set()

    walker = rounds(db, see_to, every=60)
    async with walker.running():
        await db.errands.insert_one({"_id": "e0", "at": datetime.now(UTC)})
        walker.wake()
        await asyncio.wait_for(seen.wait(), 5)


async def test_what_fails_is_tried_again_after_pauses_that_grow(db: Database) -> None:
    times: list[datetime] = []

    async def see_to(key: str) -> None:
        times.append(datetime.now(UTC))
        raise RuntimeError("not today")

    async def often() -> bool:
        return len(times) >= 5

    await errands(db, 1)
    async with rounds(db, see_to, first=0.1, every=60).running():
        await eventually(often)

    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.4), strict=False):
        assert least - 0.01 <= pause < least + 0.3


async def test_what_a_dead_process_had_in_hand_comes_again_when_its_lease_is_over(db: Database) -> None:
    begun, again = (asyncio.get_running_loop().create_future() for _ in range(2))

    async def hang(key: str) -> None:
        begun.set_result(datetime.now(UTC))
        await asyncio.Event().wait()

    async def see_to(key: str) -> None:
        again.set_result(datetime.now(UTC))

    await errands(db, 1)
    async with rounds(db, hang, first=3).running():
        await begun
    async with rounds(db, see_to).running():
        pause = await again - await begun

    assert timedelta(seconds=2.9) < pause < timedelta(seconds=4)


async def test_those_that_hang_leave_room_for_others_and_are_not_begun_twice(db: Database) -> None:
    begun: Counter[str] = Counter()
    released = asyncio.Event()

    async def see_to(key: str) -> None:
        begun[key] += 1
        if key.startswith("slow"):
            await released.wait()
        await db.errands.update_one({"_id": key}, {"$unset": {"at": ""}})

    async def leases_over() -> bool:
        return await db.errands.count_documents({"at": {"$lte": datetime.now(UTC)}, "tries": 1}) == 3

    async def others_done() -> bool:
        return not await db.errands.count_documents({"_id": {"$regex": "^quick"}, "at": {"$exists": True}})

    await errands(db, 3, name="slow")
    async with rounds(db, see_to, first=0.1).running():
        await eventually(leases_over)
        await errands(db, 10, name="quick")
        await eventually(others_done)
        released.set()

    assert set(begun.values()) == {1}


async def test_it_ends_when_it_is_told_to_however_busy_it_is(db: Database) -> None:
    async def see_to(key: str) -> None:
        await db.errands.update_one({"_id": key}, {"$set": {"at": datetime.now(UTC)}})

    await errands(db, 8)
    for _ in range(50):
        async with asyncio.timeout(10), rounds(db, see_to, every=0.001).running():
            await db.command("ping")


async def test_it_looks_where_the_index_points(db: Database) -> None:
    async def see_to(key: str) -> None: ...

    async with rounds(db, see_to).running():
        plan = await db.errands.find({"at": {"$exists": True}}).sort("at").limit(4).explain()

    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
