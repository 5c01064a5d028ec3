"""`python -m bench.queueing TIMES`: a queueing model of placing orders, fed with measured service times.

Orders come from clients that ask again as soon as they are answered, or at a fixed rate. Each takes CPU of its
process, which has one thread, waits for the group in flight (`common.batching`), is committed with its group by
MongoDB, and is answered; the bus takes CPU, for which it does not wait. Groups of two processes that write the same
stock at once collide: one begins again. All CPU comes from the same cores.

Prints what 1,000 orders a second take by TIMES, the JSON that `bench.scaling` writes to its standard error.
"""

import heapq
import json
import random
import sys
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

Step = Generator["Callable[[Callable[[], None]], None]", None, None]
"""Something that happens in time: it yields what it waits for, which calls it back."""


@dataclass(frozen=True)
class Times:
    """Seconds. What a group takes beside its orders is a part of its own: it is shared by all of them."""

    client: float
    """CPU of the load generator for an order."""
    process: float
    process_group: float
    """CPU of the process for an order, and for a group."""
    mongo: float
    mongo_group: float
    nats: float
    """CPU of the bus for an order. Nobody waits for it."""
    wait_group: float
    """What a group waits for and no CPU is taken: the disk."""


@dataclass(frozen=True)
class Setup:
    """What is simulated. `cores` may be broken: of two that are shared, perhaps 1.3 are left."""

    processes: int = 1
    clients: int = 32
    """All of them, spread over the processes."""
    cores: float = 2.0
    rate: float | None = None
    """Orders a second, if they do not depend on the answers."""
    items: int = 1_000
    by_item: bool = False
    """Whether the item decides which process an order goes to, so that no two write the same stock."""
    own_generator: bool = True
    """Whether the load generator is one thread on the same cores."""


@dataclass
class Outcome:
    """What a simulation came to: orders a second, their times ascending, and how large groups were."""

    rate: float
    times: list[float]
    group: float
    retries: int


class Simulation:
    """Time, and what happens in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something later."""
        heapq.heappush(self._due, (self.now + seconds, next(self._order), call))

    def wait(self, seconds: float) -> Callable[[Callable[[], None]], None]:
        """For a `Step` to yield."""
        return lambda call: self.after(seconds, call)

    def go(self, step: Step) -> None:
        """Go on with something until it waits."""
        for wanted in step:
            wanted(lambda: self.go(step))
            return

    def run(self, seconds: float) -> None:
        """Let everything happen that is due by then."""
        while self._due and self._due[0][0] <= seconds:
            self.now, _, call = heapq.heappop(self._due)
            call()


@dataclass
class Servers:
    """So many things that serve one at a time, and who waits for one: a thread, or cores."""

    free: int
    waiting: deque[Callable[[], None]] = field(default_factory=deque)

    def take(self, call: Callable[[], None]) -> None:
        """Call back once one is free, which is taken then."""
        if self.free:
            self.free -= 1
            call()
        else:
            self.waiting.append(call)

    def give(self) -> None:
        """Give one back."""
        if self.waiting:
            self.waiting.popleft()()
        else:
            self.free += 1


class Souk:
    """The simulated processes and servers."""

    def __init__(self, times: Times, setup: Setup, seed: int = 1) -> None:
        self.sim = Simulation()
        self._times = times
        self._setup = setup
        self._chance = random.Random(seed)
        self._cores = Servers(max(1, round(setup.cores)))
        self._slowness = max(1, round(setup.cores)) / setup.cores
        self._generator = Servers(1)
        self._threads = [Servers(1) for _ in range(setup.processes)]
        self._groups: list[list[tuple[int, Callable[[], None]]]] = [[] for _ in range(setup.processes)]
        self._committing = [False] * setup.processes
        self._written: dict[int, int] = {}
        self.times: list[float] = []
        self.sizes: list[int] = []
        self.retries = 0

    def _cpu(self, seconds: float, thread: Servers | None = None) -> Step:
        """Take a core for so long, and the thread with it."""
        if thread:
            yield thread.take
        yield self._cores.take
        yield self.sim.wait(self._chance.expovariate(1 / seconds) * self._slowness if seconds > 0 else 0)
        self._cores.give()
        if thread:
            thread.give()

    def order(self, process: int) -> Step:
        """Place one order."""
        began, times, item = self.sim.now, self._times, self._chance.randrange(self._setup.items)
        if self._setup.by_item:
            process = item % self._setup.processes
        if self._setup.own_generator:
            yield from self._cpu(times.client, self._generator)
        yield from self._cpu(times.process, self._threads[process])
        yield lambda call: self._join(process, item, call)
        self.times.append(self.sim.now - began)
        self.sim.go(self._cpu(times.nats))

    def client(self, process: int) -> Step:
        """Place one order after the other."""
        while True:
            yield from self.order(process)

    def arrivals(self, rate: float) -> Step:
        """Place orders at a rate, each at the next process."""
        for number in count():
            yield self.sim.wait(self._chance.expovariate(rate))
            self.sim.go(self.order(number % self._setup.processes))

    def _join(self, process: int, item: int, call: Callable[[], None]) -> None:
        self._groups[process].append((item, call))
        if not self._committing[process]:
            self._committing[process] = True
            self.sim.go(self._commit(process))

    def _commit(self, process: int) -> Step:
        """Commit group after group, each of all that wait."""
        times, thread = self._times, self._threads[process]
        while group := self._groups[process]:
            self._groups[process] = []
            items = {item for item, _ in group}
            self.sizes.append(len(group))
            while True:
                yield from self._cpu(times.process_group, thread)
                if not any(self._written.get(item, process) != process for item in items):
                    break
                self.retries += 1  # MongoDB has refused the write; it begins again a moment later.
                yield from self._cpu(times.mongo_group)
                yield self.sim.wait(self._chance.uniform(0, 0.01))
            self._written |= dict.fromkeys(items, process)
            yield from self._cpu(times.mongo_group + times.mongo * len(group))
            yield self.sim.wait(times.wait_group)
            for item in items:
                self._written.pop(item, None)
            for _, call in group:
                call()
        self._committing[process] = False


def simulated(times: Times, setup: Setup, seconds: float = 20.0) -> Outcome:
    """Simulate so many seconds. What the first tenth brings does not count."""
    souk = Souk(times, setup)
    if setup.rate:
        souk.sim.go(souk.arrivals(setup.rate))
    else:
        for number in range(setup.clients):
            souk.sim.go(souk.client(number % setup.processes))
    souk.sim.run(seconds / 10)
    souk.times.clear()
    souk.sim.run(seconds)
    rate = len(souk.times) / (seconds * 0.9)
    return Outcome(rate, sorted(souk.times), sum(souk.sizes) / max(1, len(souk.sizes)), souk.retries)


def quantile(times: list[float], part: float) -> float:
    """In milliseconds."""
    return times[min(int(len(times) * part), len(times) - 1)] * 1000 if times else 0.0


def main(times: Times, rate: float = 1_000, cores: int = 16) -> None:
    """Print what a rate takes: processes, with requests spread over them at random or by item."""
    for by_item in (False, True):
        for processes in (1, 2, 3, 4, 6, 8):
            setup = Setup(processes, cores=cores, rate=rate, by_item=by_item, own_generator=False)
            found = simulated(times, setup)
            print(
                f"{processes} processes, {'by item' if by_item else 'at random'}: {found.rate:.0f}/s "
                f"p50 {quantile(found.times, 0.5):.0f} p99 {quantile(found.times, 0.99):.0f} ms, "
                f"groups of {found.group:.1f}, {found.retries} began again; cores: orders "
                f"{found.rate * (times.process + times.process_group / found.group):.1f}, mongod "
                f"{found.rate * (times.mongo + times.mongo_group / found.group):.1f}"
            )


if __name__ == "__main__":
    main(Times(**json.loads(Path(sys.argv[1]).read_text())))
