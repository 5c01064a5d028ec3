"""What answers showed of an order over time: it only moves forward, along transitions that exist."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json, Operation
from tests.chaos.violation import Violation

REACHES = {
    "awaiting_payment": {"awaiting_payment", "paid", "cancelled", "expired", "refunded"},
    "expired": {"expired", "awaiting_payment", "paid", "cancelled", "refunded"},
    "paid": {"paid", "refunded"},
    "cancelled": {"cancelled"},
    "refunded": {"refunded"},
}
"""The statuses that an order can reach.

If the money of an expired order comes late and the units are free, it awaits payment again or is paid.
"""


@dataclass(frozen=True)
class Observation:
    """An order as an answer showed it."""

    version: int
    status: str
    operation: Operation


def only_forward(history: History, end: EndState) -> Iterable[Violation]:
    """A later answer shows no older version; a version has one status; every step is a transition that exists."""
    for order_id, seen in observations(history).items():
        if order := end.orders.get(order_id):
            yield from _against_the_end(order_id, seen, order["version"], order["status"])
        yield from _against_time(order_id, seen)
        yield from _against_each_other(order_id, seen)


def observations(history: History) -> dict[str, list[Observation]]:
    """Return what answers showed of each order, by order, in the order of the answers."""
    seen: dict[str, list[Observation]] = defaultdict(list)
    for operation in history.of("show order", "list orders", "list sales", "cancel", "refund"):
        for row in _orders_in(operation):
            seen[row["id"]].append(Observation(row["version"], row["status"], operation))
    return seen


def _orders_in(operation: Operation) -> list[Json]:
    if operation.status not in {200, 202}:
        return []
    rows: list[Json] = operation.body.get("items", [operation.body])
    return rows


def _against_the_end(order_id: str, seen: list[Observation], version: int, status: str) -> Iterable[Violation]:
    for one in seen:
        if one.version > version:
            yield Violation("lost", order_id, f"was seen at version {one.version}, and ends at {version}")
        elif one.version == version and one.status != status:
            yield Violation("lie", order_id, f"was seen {one.status} at version {version}, and is {status}")
        elif status not in REACHES[one.status]:
            yield Violation("lie", order_id, f"was seen {one.status}, and is {status}")


def _against_time(order_id: str, seen: list[Observation]) -> Iterable[Violation]:
    """Compare each observation with the newest version that was answered before its request was sent."""
    answered = sorted(seen, key=lambda one: one.operation.answered)
    newest, position = 0, 0
    for one in sorted(seen, key=lambda one: one.operation.sent):
        while position < len(answered) and answered[position].operation.answered < one.operation.sent:
            newest = max(newest, answered[position].version)
            position += 1
        if one.version < newest:
            what = f"operation {one.operation.number} showed version {one.version} after {newest} had been seen"
            yield Violation("went back", order_id, what)


def _against_each_other(order_id: str, seen: list[Observation]) -> Iterable[Violation]:
    by_version = sorted({(one.version, one.status) for one in seen})
    for (version, status), (next_version, next_status) in pairwise(by_version):
        if version == next_version:
            yield Violation("lie", order_id, f"was seen {status} and {next_status} at version {version}")
        elif next_status not in REACHES[status]:
            yield Violation("lie", order_id, f"was seen {status}, then {next_status}")
