"""The stock of an item as a linearizable history: some order of all that happened explains every answer.

Units are taken by placing and by late money, and given back by cancelling, by the end of a hold and by a refund. The
offer changes when orders follows the seller. What nobody saw, like the end of a forgotten hold, may have happened at
any moment from when it could. So the check raises no false alarm, and it can't see a wrong answer that such a moment
excuses: units given back too late, or a `sold_out` after the end of a hold that no answer showed. Paying changes no
stock. Money, prices and the number of orders have rules of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.end_state import EndState
from tests.chaos.history import History
from tests.chaos.item_versions import Version, versions_of_items
from tests.chaos.linearizability import Call, Verdict, examine
from tests.chaos.order_times import Attempt, OrderTimes, attempts, times_of_orders
from tests.chaos.violation import Violation

Step = tuple[str, int]
"""`take`, `sold_out` or `give` with a number of units; `follow` with a version; `off_sale`, which has no number."""

FAR = 1_000_000
"""More units than any offer has."""


@dataclass(frozen=True)
class StockState:
    """The version by which orders sells (0: the item is not known yet), and how many units are taken."""

    version: int = 0
    taken: int = 0


class StockModel:
    """What calls do to the stock of one item."""

    def __init__(self, versions: dict[int, Version]) -> None:
        self._versions = versions

    def apply(self, state: StockState, step: Step) -> StockState | None:
        """See `Model`."""
        kind, number = step
        match kind:
            case "follow":
                return StockState(max(number, state.version), state.taken)
            case "give":
                return StockState(state.version, state.taken - number)
            case _ if self.lacking(state, step):
                return None
            case "take":
                return StockState(state.version, state.taken + number)
            case _:
                return state

    def lacking(self, state: StockState, step: Step) -> int:
        """See `Model`: units that are missing, or that are too many."""
        kind, number = step
        if kind in {"follow", "give"}:
            return 0
        version = self._versions.get(state.version)
        if version is None or version.listed is (kind == "off_sale"):
            return FAR
        free = version.quantity - state.taken
        return {"take": max(0, number - free), "sold_out": max(0, free - number + 1)}.get(kind, 0)


def stock_calls(
    orders: Iterable[OrderTimes], tried: Iterable[Attempt], versions: dict[int, Version]
) -> list[Call[Step]]:
    """Return all that happened to the stock of one item."""
    calls = [Call(("follow", number), version.since, version.binding) for number, version in versions.items()]
    for order in orders:
        units, last = order.order["quantity"], order.placed
        calls.append(Call(("take", units), last.earliest, last.latest))
        for kind, span in order.changes:
            after = len(calls) - 1 if span.earliest <= last.latest else None
            calls.append(Call((kind, units), span.earliest, span.latest, after))
            last = span
    for attempt in tried:
        units = attempt.first.about["quantity"]
        if attempt.outcome == "sold_out":
            calls.append(Call(("sold_out", units), attempt.span.earliest, attempt.span.latest))
        elif attempt.outcome in {"item_withdrawn", "item_paused"}:
            calls.append(Call(("off_sale", 0), attempt.span.earliest, attempt.span.latest))
    return calls


def examine_all(history: History, end: EndState) -> dict[str, tuple[list[Call[Step]], Verdict]]:
    """Return the history of each item's stock, and the verdict about it."""
    orders: dict[str, list[OrderTimes]] = {}
    for one in times_of_orders(history, end):
        orders.setdefault(one.order["item_id"], []).append(one)
    tried: dict[str, list[Attempt]] = {}
    for attempt in attempts(history):
        tried.setdefault(attempt.first.about["item_id"], []).append(attempt)
    verdicts = {}
    for item, versions in versions_of_items(history, end).items():
        calls = stock_calls(orders.get(item, []), tried.get(item, []), versions)
        verdicts[item] = calls, examine(calls, StockState(), StockModel(versions))
    return verdicts


def linearizable(history: History, end: EndState) -> Iterable[Violation]:
    """Some order of all that happened to an item's stock explains every answer."""
    for item, (calls, verdict) in examine_all(history, end).items():
        if verdict.unexplained is not None:
            (kind, number), began = calls[verdict.unexplained].step, calls[verdict.unexplained].invoked - history.began
            what = f"no order of {len(calls)} calls explains {kind} {number}, asked for {began:.2f} s after the start"
            yield Violation("not linearizable", item, what)


def undecided(history: History, end: EndState) -> int:
    """The number of items whose history was too tangled for the search."""
    return sum(not verdict.decided for _, verdict in examine_all(history, end).values())
