"""`python -m bench.scaling`: one process of orders against two, and what the queueing model says about both.

CPU of each program for an order is measured with one process and 1, 8 and 32 clients: as groups grow, what a group
takes is shared by more orders, so two parts can be told apart. What a group waits for beside CPU is what makes the
model agree with one process and 32 clients. The two processes are then predicted, with nothing of them put in.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop

from bench.__main__ import Bench
from bench.load import cpu_seconds, load
from bench.queueing import Setup, Times, quantile, simulated
from infra.servers.process import free_port
from tests.support.waiting import eventually

OTHER = "orders-2"
CLIENTS = 32
PROGRAMS = ("client", "process", "mongo", "nats")


@dataclass(frozen=True)
class Measured:
    """A turn: orders a second, seconds of CPU for an order of each program, orders in a group, p50 and p99 in ms."""

    rate: float
    cpu: dict[str, float]
    group: float
    cores: float
    p50: float
    p99: float


class Turns:
    """Runs turns with one process or with two."""

    def __init__(self, bench: Bench, seconds: float) -> None:
        self._bench = bench
        self._seconds = seconds

    async def run(self, names: Sequence[str], clients: int) -> Measured:
        """One turn. The time until all events are out belongs to it."""
        bench, before = self._bench, await self._so_far(names)
        began = time.perf_counter()
        each = clients // len(names)
        made = [load(bench.ports[name], bench.post_order, self._seconds, each) for name in names]
        results = await asyncio.gather(*made)
        loaded = time.perf_counter() - began
        assert {status for result in results for status in result.statuses} == {201}  # noqa: S101
        await eventually(lambda: bench.all_out("orders"), seconds=60)
        seconds, after = time.perf_counter() - began, await self._so_far(names)
        spent = {name: after[name] - before[name] for name in after}
        times = sorted(one for result in results for one in result.times)
        ours = sum(spent[name] for name in PROGRAMS)
        return Measured(
            rate=len(times) / loaded,
            cpu={name: spent[name] / len(times) for name in PROGRAMS},
            group=spent["commands"] / spent["groups"],
            cores=min(float(os.cpu_count() or 1), (ours + spent["idle"]) / seconds),
            p50=quantile(times, 0.5),
            p99=quantile(times, 0.99),
        )

    async def _so_far(self, names: Sequence[str]) -> dict[str, float]:
        bench = self._bench
        figures = {
            "client": time.process_time(),
            "process": sum(cpu_seconds(bench.programs[name].pid or 0) for name in ("orders", OTHER)),
            "mongo": cpu_seconds(bench.mongo.pid or 0),
            "nats": cpu_seconds(bench.nats.pid or 0),
            "idle": _idle(),
            "commands": 0.0,
            "groups": 0.0,
        }
        async with httpx.AsyncClient() as client:
            for name in names:
                text = (await client.get(f"http://127.0.0.1:{bench.ports[name]}/metrics")).text
                for figure, suffix in (("commands", "sum"), ("groups", "count")):
                    [value] = re.findall(rf"^souk_desk_group_commands_{suffix} (\S+)", text, re.MULTILINE)
                    figures[figure] += float(value)
        return figures


def _idle() -> float:
    """Seconds of CPU that nobody took so far, of all cores."""
    idle, waiting = Path("/proc/stat").read_text().split(maxsplit=6)[4:6]
    return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")


def fitted(turns: Sequence[Measured]) -> Times:
    """The service times for which CPU is `each + group / size of the group`, by least squares."""
    parts = {name: _line([(1 / turn.group, turn.cpu[name]) for turn in turns]) for name in PROGRAMS}
    client, nats = (statistics.median(turn.cpu[name] for turn in turns[-2:]) for name in ("client", "nats"))
    (process, process_group), (mongo, mongo_group) = parts["process"], parts["mongo"]
    return Times(client, process, process_group, mongo, mongo_group, nats, 0.0)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a line through points begins, and how steep it is; neither below 0."""
    slope, begin = statistics.linear_regression(*zip(*points, strict=True))
    return max(0.0, begin), max(0.0, slope)


def with_wait(times: Times, setup: Setup, rate: float) -> Times:
    """With the wait of a group for which the model comes to this rate."""
    low, high = 0.0, 0.1
    for _ in range(12):
        middle = (low + high) / 2
        faster = simulated(dataclasses.replace(times, wait_group=middle), setup, 8).rate > rate
        low, high = (middle, high) if faster else (low, middle)
    return dataclasses.replace(times, wait_group=low)


def show(name: str, turn: Measured) -> None:
    """Print a turn."""
    cpu = ", ".join(f"{program} {seconds * 1e6:.0f}" for program, seconds in turn.cpu.items())
    print(
        f"{name}: {turn.rate:.0f}/s p50 {turn.p50:.1f} p99 {turn.p99:.1f} ms; groups of {turn.group:.1f}; "
        f"CPU of an order in us: {cpu}; {turn.cores:.2f} cores",
        flush=True,
    )


def middle(turns: Sequence[Measured]) -> Measured:
    """The turn with the median rate."""
    return sorted(turns, key=lambda turn: turn.rate)[len(turns) // 2]


async def main() -> None:
    """Measure, fit, predict, and print how far off the prediction is."""
    parser = argparse.ArgumentParser(prog="bench.scaling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of turns")
    options = parser.parse_args()
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        bench = Bench(exits, folder)
        await bench.start()
        bench.ports[OTHER] = free_port()
        await exits.enter_async_context(bench.running("orders", "orders.main"))
        await exits.enter_async_context(bench.running("orders", "orders.main", OTHER))
        await eventually(bench.all_arrived, seconds=60)
        turns = Turns(bench, options.seconds)
        few = [await turns.run(["orders"], clients) for clients in (1, 8)]
        one, two = [], []
        for _ in range(options.rounds):
            one.append(await turns.run(["orders"], CLIENTS))
            two.append(await turns.run(["orders", OTHER], CLIENTS))
            show("one process ", one[-1])
            show("two processes", two[-1])
    for clients, turn in zip((1, 8), few, strict=True):
        show(f"one process, {clients} clients", turn)
    alone, both = middle(one), middle(two)
    cores = statistics.median(turn.cores for turn in (*one, *two))
    times = with_wait(fitted([*few, *one]), Setup(cores=cores), alone.rate)
    model = [simulated(times, Setup(processes=number, cores=cores)) for number in (1, 2)]
    ratio = statistics.median(b.rate / a.rate for a, b in zip(one, two, strict=True))
    predicted = model[1].rate / model[0].rate
    print(json.dumps(dataclasses.asdict(times)), file=sys.stderr)
    print(f"model, one process: {model[0].rate:.0f}/s, groups of {model[0].group:.1f}; measured {alone.rate:.0f}/s")
    print(f"model, two: {model[1].rate:.0f}/s, groups of {model[1].group:.1f}; measured {both.rate:.0f}/s")
    print(f"two : one = {predicted:.2f} in the model, {ratio:.2f} measured: {predicted / ratio - 1:+.0%}")


if __name__ == "__main__":
    uvloop.run(main())
