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


CLOSE = 0.5
"""Seconds by which a clock that is set may differ from what it is set to."""


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

    async def shows(seconds: int) -> bool:
        """Whether two clocks of the process are so far ahead, and monotonic time is not; no new id is an older one."""
        asked, asked_steady = time.time(), time.monotonic()
        asking.write(b"now\n")
        wall, moment, made, steady = (await answers.readline()).decode().split()
        answered = time.time()
        assert asked_steady <= float(steady) <= time.monotonic()
        told = [float(wall), float(moment), *([minted_at(made)] if seconds >= 0 else [])]
        return all(asked - CLOSE <= one - seconds <= answered + CLOSE for one in told)

    assert await shows(0)
    clock.set(500)
    await eventually(lambda: shows(500))
    clock.set(-500)
    await eventually(lambda: shows(-500))
    process.stdin.close()
    await process.wait()
