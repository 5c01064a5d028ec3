"""How much a single fault may cost: a floor of answers from a few seconds after it. Pure."""

from collections.abc import Iterable

from tests.chaos.history import AWAY, History
from tests.chaos.violation import Violation

RECOVERY = 5.0
"""Seconds after a fault in which requests may fail."""

READS = ("show item", "list items", "search", "show order", "list orders", "list sales", "list payments", "who am i")

FLOORS = {READS: 0.999, ("place",): 0.99}
"""The least share of requests of these kinds that Souk answers, in other words than: try again."""


def available(history: History, fault_ended: float) -> Iterable[Violation]:
    """From `RECOVERY` after the only fault of a run (Unix seconds), reads and orders are answered."""
    for kinds, floor in FLOORS.items():
        sent = [o for o in history.of(*kinds) if o.sent >= fault_ended + RECOVERY]
        unanswered = [o for o in sent if o.status in AWAY]
        if sent and 1 - len(unanswered) / len(sent) < floor:
            first = unanswered[0]
            what = f"{len(unanswered)} of {len(sent)} like {first.kind!r} were not answered, first {first.outcome}"
            what += f": {first.body}"
            yield Violation("availability", first.about.get("item_id", ""), what)
