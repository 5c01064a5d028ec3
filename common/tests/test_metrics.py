"""Metrics that are measured in the background."""

import asyncio
import time

import pytest

from common.metrics import LOOP_LAG, loop_watched, sampled
from tests.support.waiting import eventually


def lags() -> tuple[float, float]:
    """How often the loop was looked at, and how late all looks together came, in seconds."""
    [family] = LOOP_LAG.collect()
    values = {sample.name: sample.value for sample in family.samples}
    return values["souk_event_loop_lag_seconds_count"], values["souk_event_loop_lag_seconds_sum"]


async def test_a_blocked_event_loop_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.metrics.LOOK_EVERY", 0.01)
    async with loop_watched():
        await asyncio.sleep(0)
        (looks, late) = lags()
        time.sleep(0.2)  # noqa: ASYNC251 - the very thing that it should show

        async def looked() -> bool:
            return lags()[0] > looks

        await eventually(looked)
    assert 0.15 < lags()[1] - late < 5


async def test_a_failed_sample_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.metrics.SAMPLE_EVERY", 0.01)
    asked: list[int] = []

    async def sample() -> None:
        asked.append(len(asked))
        raise ConnectionError("the server is away")

    async def again() -> bool:
        return len(asked) > 2

    async with sampled(sample):
        await eventually(again)
    count = len(asked)
    await asyncio.sleep(0.05)
    assert len(asked) == count, "it goes on after its end"
