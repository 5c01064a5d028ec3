"""When orders took units of an item, and when they gave them back: the moments between which each of it happened.

A moment is known from answers: what an answer showed had happened before it, and nothing happens before somebody asks
for it. Only the end of a hold has a time of its own, `expires_at`. What no answer showed may have happened at any later
time. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json, Operation
from tests.chaos.linearizability import NEVER
from tests.chaos.observations import Observation, observations


@dataclass(frozen=True)
class Span:
    """Something happened once, from `earliest` to `latest` (Unix seconds; `NEVER`: no answer showed it)."""

    earliest: float
    latest: float = NEVER

    def touches(self, other: "Span") -> bool:
        """Return whether both can have happened at the same moment."""
        return self.earliest <= other.latest and other.earliest <= self.latest


@dataclass(frozen=True)
class OrderTimes:
    """Units of an item that one order took when it was placed, and what became of them."""

    order: Json
    placed: Span
    changes: tuple[tuple[str, Span], ...]
    """Each `give` and `take` after that, in this order."""
    hold_ends: float
    """The hold lasted at least until then."""

    @property
    def has_units(self) -> Span:
        """The time in which the order may have its units, or may have them again."""
        kind, change = self.changes[-1] if self.changes else ("take", self.placed)
        return Span(self.placed.earliest, change.latest if kind == "give" else NEVER)


@dataclass(frozen=True)
class Attempt:
    """A request for an order with all its repetitions under one key, and its first answer that counts, if any."""

    first: Operation
    span: Span
    answer: Operation | None

    @property
    def outcome(self) -> str:
        """`placed`, or the code of the refusal; empty if no answer came."""
        return "" if self.answer is None else "placed" if self.answer.status == 201 else self.answer.code


def attempts(history: History) -> list[Attempt]:
    """Return every attempt to place an order."""
    together: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for o in history.of("place"):
        together[o.who, o.key or f"without a key: {o.number}"].append(o)
    return [_attempt(operations) for operations in together.values()]


def _attempt(operations: list[Operation]) -> Attempt:
    known = [o for o in operations if o.known]
    placed = [o for o in known if o.status == 201]
    answer = next(iter(placed or known), None)
    first = min(operations, key=lambda o: o.sent)
    same = [o for o in known if answer and o.outcome == answer.outcome]
    return Attempt(first, Span(first.sent, min((o.answered for o in same), default=NEVER)), answer)


def times_of_orders(history: History, end: EndState) -> list[OrderTimes]:
    """Return the times of every order that exists at the end."""
    tried = attempts(history)
    placed = {attempt.answer.body["id"]: attempt for attempt in tried if attempt.answer and attempt.outcome == "placed"}
    open_ones: dict[tuple[str, str, int], list[Attempt]] = defaultdict(list)
    for attempt in tried:
        if not attempt.outcome:
            open_ones[attempt.first.who, attempt.first.about["item_id"], attempt.first.about["quantity"]].append(
                attempt
            )
    asked: dict[tuple[str, str], float] = {}
    for o in history.of("pay", "cancel", "refund"):
        asked[o.kind, o.about["order_id"]] = min(o.sent, asked.get((o.kind, o.about["order_id"]), NEVER))
    for order_id, order in end.orders.items():
        if end.charges.get(order.get("payment_id") or "", {}).get("in_dashboard"):
            asked.pop(("refund", order_id), None)  # The units may have come back before the seller asked.
    seen = observations(history)
    expired = {
        e.body["order_id"] for e in end.events if e.subject == "orders.cancelled" and e.body["reason"] == "expired"
    }
    result = []
    for order_id, order in end.orders.items():
        unanswered = open_ones[order["buyer_id"], order["item_id"], order["quantity"]]
        since = placed[order_id].span if order_id in placed else _unanswered(unanswered, seen[order_id], history)
        result.append(_times(order, since, asked, seen[order_id], order_id in expired, end.skew))
    return result


def _unanswered(tried: Iterable[Attempt], seen: Iterable[Observation], history: History) -> Span:
    """When an order was placed whose buyer got no answer: perhaps a later answer showed it."""
    shown = min((one.operation.answered for one in seen), default=NEVER)
    return Span(min((attempt.span.earliest for attempt in tried), default=history.began), shown)


def _times(
    order: Json,
    placed: Span,
    asked: dict[tuple[str, str], float],
    seen: list[Observation],
    expired: bool,
    skew: float,
) -> OrderTimes:
    paying, cancelling, refunding = (asked.get((kind, order["_id"]), NEVER) for kind in ("pay", "cancel", "refund"))
    over = order["expires_at"].timestamp() - skew
    changes = tuple(_changes(order, placed.earliest, cancelling, refunding, over, seen, expired))
    return OrderTimes(order, placed, changes, min(paying, cancelling, over))


def _changes(
    order: Json, placed: float, cancelling: float, refunding: float, over: float, seen: list[Observation], expired: bool
) -> Iterator[tuple[str, Span]]:
    def shown(*statuses: str) -> float:
        return min((one.operation.answered for one in seen if one.status in statuses), default=NEVER)

    if expired:
        yield "give", Span(over, shown("expired"))
        if order["status"] != "expired":
            yield "take", Span(over)  # paid late, or about to be
    match order["status"]:
        case "expired" if not expired:
            yield "give", Span(over, shown("expired"))
        case "cancelled":
            by_buyer = order.get("cancel_reason", "buyer") == "buyer" and cancelling < NEVER
            yield "give", Span(cancelling if by_buyer else placed, shown("cancelled"))
        case "refunded":
            yield "give", Span(refunding if refunding < NEVER else placed, shown("refunded"))
