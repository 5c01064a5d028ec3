"""What people saw of an order over time: it only moves forward, along transitions that exist."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.end_state import Final
from tests.chaos.history import History, Json, Operation
from tests.chaos.violation import Violation

REACHES = {
    "awaiting_payment": {"awaiting_payment", "paid", "cancelled", "expired", "refunded"},
    "expired": {"expired", "paid", "refunded"},
    "paid": {"paid", "refunded"},
    "cancelled": {"cancelled"},
    "refunded": {"refunded"},
}
"""Where an order can go from each status. From expired: its money came late, and the units were still free."""


@dataclass(frozen=True)
class Sighting:
    """An order as somebody saw it in an answer."""

    version: int
    status: str
    operation: Operation


def went_back(history: History, final: Final) -> Iterable[Violation]:
    """What was seen later is not older; a version has one status; every step is a transition that exists."""
    for order_id, seen in _sightings(history).items():
        if order := final.orders.get(order_id):
            yield from _against_the_end(order_id, seen, order["version"], order["status"])
        yield from _against_time(order_id, seen)
        yield from _against_each_other(order_id, seen)


def _sightings(history: History) -> dict[str, list[Sighting]]:
    seen: dict[str, list[Sighting]] = defaultdict(list)
    for operation in history.of("show order", "list orders", "list sales", "cancel", "refund"):
        for row in _orders_in(operation):
            seen[row["id"]].append(Sighting(row["version"], row["status"], operation))
    return seen


def _orders_in(operation: Operation) -> list[Json]:
    if operation.status not in {200, 202}:
        return []
    rows: list[Json] = operation.body.get("items", [operation.body])
    return rows


def _against_the_end(order_id: str, seen: list[Sighting], version: int, status: str) -> Iterable[Violation]:
    for one in seen:
        if one.version > version:
            yield Violation("lost", order_id, f"was seen at version {one.version}, and ends at {version}")
        elif one.version == version and one.status != status:
            yield Violation("lie", order_id, f"was seen {one.status} at version {version}, and is {status}")
        elif status not in REACHES[one.status]:
            yield Violation("lie", order_id, f"was seen {one.status}, and is {status}")


def _against_time(order_id: str, seen: list[Sighting]) -> Iterable[Violation]:
    """Compare each sighting with the newest version that was answered before it was asked for."""
    answered = sorted(seen, key=lambda one: one.operation.answered)
    newest, position = 0, 0
    for one in sorted(seen, key=lambda one: one.operation.sent):
        while position < len(answered) and answered[position].operation.answered < one.operation.sent:
            newest = max(newest, answered[position].version)
            position += 1
        if one.version < newest:
            what = f"operation {one.operation.number} showed version {one.version} after {newest} had been seen"
            yield Violation("went back", order_id, what)


def _against_each_other(order_id: str, seen: list[Sighting]) -> Iterable[Violation]:
    by_version = sorted({(one.version, one.status) for one in seen})
    for (version, status), (next_version, next_status) in pairwise(by_version):
        if version == next_version:
            yield Violation("lie", order_id, f"was seen {status} and {next_status} at version {version}")
        elif next_status not in REACHES[status]:
            yield Violation("lie", order_id, f"was seen {status}, then {next_status}")
