"""Concurrent calls share one call of the driver; each caller still gets its own result or its own error."""

import asyncio
from collections.abc import Sequence

import pytest

from common.batching import Batcher
from common.errors import Unavailable
from common.telemetry import caused_by, current_cause, new_cause


class Driver:
    """Doubles numbers, remembers in which batches, and holds its answers back while it is `busy`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.request_ids: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def __call__(self, members: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(members))
        self.request_ids.add(current_cause().request_id)
        await self._idle.wait()
        return [self.double(member) for member in members]

    def double(self, member: int) -> int | BaseException:
        return 2 * member

    @property
    def busy(self) -> bool:
        return not self._idle.is_set()

    @busy.setter
    def busy(self, busy: bool) -> None:
        if busy:
            self._idle.clear()
        else:
            self._idle.set()


@pytest.fixture
def driver() -> Driver:
    return Driver()


async def occupied(driver: Driver, batcher: Batcher[int, int]) -> asyncio.Future[int]:
    """The result of a first call that is under way: further calls wait for the next batch."""
    driver.busy = True
    first = batcher.put(0)
    await asyncio.sleep(0)
    assert driver.batches == [[0]]
    return first


async def test_a_lone_call_is_not_delayed(driver: Driver) -> None:
    batcher = Batcher(driver)
    answer = batcher.put(21)

    await asyncio.sleep(0)  # one turn of the loop, no timer
    assert driver.batches == [[21]]
    assert await answer == 42


async def test_calls_that_begin_together_share_a_batch_and_keep_their_order(driver: Driver) -> None:
    batcher = Batcher(driver)
    assert await asyncio.gather(*(batcher(n) for n in (3, 1, 2))) == [6, 2, 4]
    assert driver.batches == [[3, 1, 2]]


async def test_a_batch_forms_while_one_is_under_way(driver: Driver) -> None:
    batcher = Batcher(driver)
    first = await occupied(driver, batcher)
    rest = [batcher.put(n) for n in (3, 1, 2)]
    await asyncio.sleep(0)
    assert driver.batches == [[0]], "one at a time"
    assert len(batcher) == 3

    driver.busy = False

    assert await asyncio.gather(first, *rest) == [0, 6, 2, 4]
    assert driver.batches == [[0], [3, 1, 2]]
    assert len(batcher) == 0


async def test_a_batch_has_a_limit(driver: Driver) -> None:
    batcher = Batcher(driver, limit=2)
    assert await asyncio.gather(*(batcher(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert driver.batches == [[0, 1], [2, 3], [4]]


async def test_an_idle_batcher_works_again(driver: Driver) -> None:
    batcher = Batcher(driver)
    assert [await batcher(1), await batcher(2)] == [2, 4]
    assert driver.batches == [[1], [2]]


async def test_a_caller_that_is_cancelled_before_its_batch_starts_is_left_out(driver: Driver) -> None:
    batcher = Batcher(driver)
    first = await occupied(driver, batcher)
    stays, leaves = asyncio.create_task(batcher(1)), asyncio.create_task(batcher(2))
    await asyncio.sleep(0)

    leaves.cancel()
    driver.busy = False

    assert [await first, await stays] == [0, 2]
    assert driver.batches == [[0], [1]]
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_nothing_is_done_for_a_batch_whose_callers_are_all_cancelled(driver: Driver) -> None:
    batcher = Batcher(driver)
    first = await occupied(driver, batcher)
    for n in (1, 2):
        batcher.put(n).cancel()
    driver.busy = False
    await first

    assert await batcher(3) == 6
    assert driver.batches == [[0], [3]]


async def test_a_caller_that_is_cancelled_during_its_batch_stops_no_other(driver: Driver) -> None:
    batcher = Batcher(driver)
    driver.busy = True
    leaves, stays = asyncio.create_task(batcher(1)), asyncio.create_task(batcher(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert driver.batches == [[1, 2]]
    later = batcher.put(3)

    leaves.cancel()
    driver.busy = False

    assert [await stays, await later] == [4, 6]
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_an_error_among_the_results_is_its_members_own(driver: Driver) -> None:
    class Refuses(Driver):
        def double(self, member: int) -> int | BaseException:
            return ValueError("no twos") if member == 2 else super().double(member)

    refusing = Refuses()
    batcher = Batcher(refusing)

    one, two, three = await asyncio.gather(*(batcher(n) for n in (1, 2, 3)), return_exceptions=True)

    assert (one, three) == (2, 6)
    assert isinstance(two, ValueError)
    assert refusing.batches == [[1, 2, 3]], "nothing is tried again"


class Fragile(Driver):
    """Fails as a whole when a 2 is among the members."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def __call__(self, members: Sequence[int]) -> list[int | BaseException]:
        results = await super().__call__(members)
        if 2 in members:
            raise self.error
        return results


async def test_a_batch_that_fails_as_a_whole_is_tried_one_by_one() -> None:
    fragile = Fragile(ValueError("no twos"))
    batcher = Batcher(fragile)

    one, two, three = await asyncio.gather(*(batcher(n) for n in (1, 2, 3)), return_exceptions=True)

    assert (one, three) == (2, 6)
    assert isinstance(two, ValueError)
    assert fragile.batches == [[1, 2, 3], [1], [2], [3]]


async def test_a_lone_call_that_fails_is_not_tried_again() -> None:
    fragile = Fragile(ValueError("no twos"))
    with pytest.raises(ValueError, match="no twos"):
        await Batcher(fragile)(2)
    assert fragile.batches == [[2]]


@pytest.mark.parametrize(
    ("error", "shared"), [(ConnectionError("away"), None), (TimeoutError("away"), None), (KeyError("x"), (KeyError,))]
)
async def test_an_unavailable_server_fails_the_whole_batch_without_a_retry(
    error: Exception, shared: tuple[type[Exception], ...] | None
) -> None:
    fragile = Fragile(error)
    batcher = Batcher(fragile) if shared is None else Batcher(fragile, shared=shared)

    results = await asyncio.gather(*(batcher(n) for n in (1, 2, 3)), return_exceptions=True)

    assert results == [error] * 3
    assert fragile.batches == [[1, 2, 3]]


async def test_a_batcher_goes_on_after_a_failure() -> None:
    batcher = Batcher(Fragile(ConnectionError("away")))
    with pytest.raises(ConnectionError):
        await batcher(2)
    assert await batcher(3) == 6


async def test_work_that_loses_results_is_an_error_and_no_caller_gets_the_result_of_another() -> None:
    async def forgetful(members: Sequence[int]) -> list[int | BaseException]:
        return list(members[1:])

    batcher = Batcher(forgetful)
    results = await asyncio.gather(*(batcher(n) for n in (1, 2)), return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError, RuntimeError]


async def test_work_that_is_cancelled_from_within_leaves_no_caller_waiting(driver: Driver) -> None:
    """A driver that is closed cancels what it waits for."""
    fragile = Fragile(asyncio.CancelledError())
    batcher = Batcher(fragile)
    fragile.busy = True
    under_way = batcher.put(2)
    await asyncio.sleep(0)
    waiting = batcher.put(3)
    fragile.busy = False

    for answer in (under_way, waiting):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(answer, 30)
    assert await batcher(4) == 8


async def test_closing_waits_for_the_members_it_has_and_refuses_new_ones(driver: Driver) -> None:
    batcher = Batcher(driver)
    first = await occupied(driver, batcher)
    second = batcher.put(1)

    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    assert not closing.done()
    with pytest.raises(Unavailable):
        await batcher(2)

    driver.busy = False
    await closing
    assert (first.result(), second.result()) == (0, 2)
    with pytest.raises(Unavailable):
        batcher.put(3)


async def test_an_idle_batcher_closes_at_once(driver: Driver) -> None:
    batcher = Batcher(driver)
    await batcher.close()
    assert driver.batches == []


async def test_a_full_backlog_refuses_at_once_and_has_room_again(driver: Driver) -> None:
    batcher = Batcher(driver, backlog=2)
    first = await occupied(driver, batcher)
    waiting = [batcher.put(n) for n in (1, 2)]
    with pytest.raises(Unavailable):
        await batcher(3)

    driver.busy = False
    assert await asyncio.gather(first, *waiting) == [0, 2, 4]
    assert await batcher(3) == 6


async def test_a_batch_does_not_log_under_the_request_of_its_first_caller(driver: Driver) -> None:
    batcher = Batcher(driver)
    with caused_by(new_cause("the-first")):
        await batcher(1)
    assert "the-first" not in driver.request_ids
