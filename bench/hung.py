"""`python -m bench.hung`: a replica hangs, or the NATS node that a service is connected to falls silent, under load.

Souk runs as in production: three mongods, three nats-servers, two replicas of each service. Prints orders and payments
a second and how long events wait for their effect, before the fault and from 15 seconds after its beginning, and the
number of dead letters. At the end every promise is checked. People do one thing after another: who waits orders less.
The exit code is 1 if an aim is missed: `LEAST_SHARE`, `LONGEST_LAG`, no dead letter, no broken promise.
"""

import argparse
import asyncio
import math
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import uvloop

from tests.chaos.plan import Fault
from tests.chaos.replicated_world import ReplicatedWorld
from tests.chaos.run import Run

CALM = 40.0
"""Seconds of load before the fault, of which the first `WARM` do not count."""

WARM = 10.0
SETTLED = 15.0
"""Seconds after the beginning of a fault from which throughput must be back."""

AFTER = 15.0

LEAST_SHARE = 0.4
"""Of the orders and payments a second before the fault, that come also during it."""

LONGEST_LAG = 15.0
"""Seconds that 99 % of the events wait at most for their effect during the fault."""

STEPS = ("payments.authorized", "orders.payment_accepted", "payments.captured", "orders.paid")
"""The events of a payment. Each is the effect of the one before it, of which another service has heard."""


class HungWorld(ReplicatedWorld):
    """Knows a black hole of the node that a service is connected to, wherever that is."""

    def more_faults(self) -> Mapping[str, Callable[[Fault], Awaitable[object]]]:
        """See `World`."""
        return {**super().more_faults(), "silent node": self._silence}

    async def _silence(self, fault: Fault) -> int:
        """Hold every connection of a service to the node that most of its replicas are connected to."""
        replicas = (fault.target, f"{fault.target}-2")
        nodes = [[self.wires[f"{name}:{member.name}"] for name in replicas] for member in self.nats.members]
        node = max(nodes, key=lambda wires: sum(wire.connections for wire in wires))
        held = sum(wire.connections for wire in node)
        for wire in node:
            wire.hold()
        await asyncio.sleep(fault.seconds)
        for wire in node:
            wire.heal()
        return held


@dataclass
class Phase:
    """A part of a run, in Unix seconds, and what happened in it."""

    name: str
    began: float
    ended: float
    rates: dict[str, float] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)

    def measure(self, run: Run) -> None:
        """Count what was answered and published in this time."""
        for kind in ("place", "pay"):
            done = [o for o in run.history.of(kind) if o.status == 201 and self.began <= o.answered < self.ended]
            self.rates[kind] = len(done) / (self.ended - self.began)
        self.lags = sorted(lag for at, lag in waits(run) if self.began <= at < self.ended)

    def lag(self, share: float) -> float:
        """The seconds that this share of the events waited at most; endless if there was no event."""
        return self.lags[min(int(len(self.lags) * share), len(self.lags) - 1)] if self.lags else math.inf

    def __str__(self) -> str:
        rates = "  ".join(f"{rate:5.2f} {kind}/s" for kind, rate in self.rates.items())
        return (
            f"{self.name:20s} {self.ended - self.began:5.0f} s  {rates}  lag of {len(self.lags):5d} events:"
            f" p50 {self.lag(0.5):.3f} s  p99 {self.lag(0.99):.2f} s  longest {self.lag(1):.2f} s"
        )


def missed_aims(before: Phase, during: Phase, dead_letters: int) -> list[str]:
    """What a fault cost more than it may, in words."""
    missed = [
        f"{kind}: {during.rates[kind]:.2f}/s of {rate:.2f}/s, less than {LEAST_SHARE:.0%}"
        for kind, rate in before.rates.items()
        if during.rates[kind] < LEAST_SHARE * rate or not rate
    ]
    if during.lag(0.99) > LONGEST_LAG:
        missed.append(f"p99 of the lag of events: {during.lag(0.99):.1f} s, more than {LONGEST_LAG:.0f} s")
    if dead_letters:
        missed.append(f"{dead_letters} dead letters")
    return missed


def waits(run: Run) -> list[tuple[float, float]]:
    """When each event of a payment was published (Unix seconds), and the seconds until its effect was."""
    times: dict[tuple[str, str], float] = {}
    for event in run.end.events:
        times.setdefault((event.subject, str(event.body.get("payment_id", ""))), event.at.timestamp())
    found = []
    for cause, effect in pairwise(STEPS):
        for (subject, payment), at in times.items():
            if subject == cause and (effect, payment) in times:
                found.append((at, times[effect, payment] - at))
    return found


async def measure(fault: Fault, buyers: int, seed: int) -> bool:
    """Run once and print the figures; return whether every promise was kept and no aim was missed."""
    run = Run(seed=seed, seconds=fault.at + fault.seconds + AFTER, buyers=buyers, hold_seconds=8, plan=[fault])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with HungWorld(Path(folder), hold_seconds=8, say=lambda *_: None) as souk:
            await run.execute(souk)
    [result] = run.faults
    print(f"\n{fault.kind} {fault.target} for {fault.seconds:.0f} s {result.note or ''}")
    phases = [
        Phase("before", run.history.began + WARM, result.began),
        Phase("the first 15 s", result.began, result.began + SETTLED),
        Phase("from 15 s to the end", result.began + SETTLED, result.ended),
    ]
    for phase in phases:
        phase.measure(run)
        print(phase)
    before, _, during = phases
    shares = ", ".join(f"{during.rates[kind] / rate:.0%} of {kind}" for kind, rate in before.rates.items() if rate)
    print(f"throughput from 15 s: {shares}   dead letters: {len(run.end.dead_letters)}")
    missed = missed_aims(before, during, len(run.end.dead_letters))
    for aim in missed:
        print(f"missed: {aim}")
    for violation in run.violations:
        print(f"{violation.rule} {violation.subject} {violation.what}")
    return not run.violations and not missed


async def main() -> int:
    """Measure both faults. Return the exit code: 1 if a promise was broken or an aim missed."""
    parser = argparse.ArgumentParser(prog="bench.hung", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of each fault")
    parser.add_argument("--buyers", type=int, default=10)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--only", choices=["replica", "node"])
    options = parser.parse_args()
    faults = {
        "replica": Fault(CALM, "long pause", "orders-2", options.seconds),
        "node": Fault(CALM, "silent node", "orders", options.seconds),
    }
    chosen = [options.only] if options.only else list(faults)
    kept = [await measure(faults[name], options.buyers, options.seed) for name in chosen]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
