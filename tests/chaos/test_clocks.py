"""The clock of one process is wrong, and that of all others is right."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from common.ids import minted_at
from infra.local.stack.program import passed_on
from tests.chaos.clocks import Clock, library
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(library() is None, reason="there is no libfaketime here")

WATCH = """
import sys, time
from datetime import datetime
from common.ids import new_id
for _ in sys.stdin:
    print(time.time(), datetime.now().timestamp(), new_id(), time.monotonic(), flush=True)
"""


async def test_a_clock_is_set_ahead_and_behind_while_its_process_runs(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WATCH),
        env={**passed_on(), **clock.environment()},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout

    asking, answers = process.stdin, process.stdout

    async def told() -> list[int]:
        """Seconds by which the times that the process tells are ahead: two clocks, a new id, monotonic time."""
        asking.write(b"now\n")
        wall, moment, made, steady = (await answers.readline()).decode().split()
        ahead = [round(one - time.time()) for one in (float(wall), float(moment), minted_at(made))]
        return [*ahead, round(float(steady) - time.monotonic())]

    async def shows(seconds: int) -> bool:
        return (await told())[:2] == [seconds, seconds]

    assert await told() == [0, 0, 0, 0]
    clock.set(5)
    await eventually(lambda: shows(5))
    assert await told() == [5, 5, 5, 0]
    clock.set(-5)
    await eventually(lambda: shows(-5))
    assert (await told())[3] == 0
    process.stdin.close()
    await process.wait()
