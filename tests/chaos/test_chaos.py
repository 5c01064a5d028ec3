"""The short run: a whole Souk under faults, and every promise kept. `make chaos` is the long one."""

from pathlib import Path

import pytest

from tests.chaos.report import figures
from tests.chaos.run import Run
from tests.chaos.world import World

HOLD_SECONDS = 4


@pytest.mark.timeout(360)
async def test_every_promise_is_kept_whatever_fails(tmp_path: Path) -> None:
    run = Run(seed=5, seconds=40, buyers=8, hold_seconds=HOLD_SECONDS)

    async with World(tmp_path, hold_seconds=HOLD_SECONDS, say=lambda *_: None) as world:
        await run.happen(world)

    said = figures(run)
    assert said["violations"] == []
    assert said["orders_completed"] >= 20
    assert len(said["faults"]) >= 8
