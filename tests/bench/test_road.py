"""The quick bench measures what it says. Its figures are not judged: they are those of a machine and a moment."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from collections import Counter

from bench.load import Result
from infra.services import ROOT


async def test_the_quick_bench_has_a_figure_for_every_path() -> None:
    command = (sys.executable, "-m", "bench.road", "--requests", "3", "--rounds", "2")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    lines, figures = await process.communicate()

    assert process.returncode == 0, figures.decode()
    ratios = re.findall(r"us \(\d+ to \d+\) = +(\d+\.\d\d) static answers", figures.decode())
    assert (len(ratios), ratios[0]) == (6, "1.00")
    assert len(lines.splitlines()) == 12, "a line for each POST, also for those of the last moment"


def test_cpu_is_counted_per_answer() -> None:
    result = Result(Counter({200: 4}), 1.0, [0.1] * 4, cpu=0.002)
    assert result.cpu_each == 500
