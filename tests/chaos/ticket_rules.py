"""Rules about tickets: as many as paid units, one live generation each, and online each admits once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json, Operation
from tests.chaos.violation import Violation


def issued(end: EndState) -> Iterable[Violation]:
    """A paid order of an event has a valid or used ticket for each unit; nothing else has one."""
    for order_id, order in end.orders.items():
        is_event = end.items.get(order["item_id"], {}).get("kind") == "event"
        due = order["quantity"] if is_event and order["status"] == "paid" and not order.get("refund_requested") else 0
        live = len(_live(end.bookings.get(order_id, {})))
        if live != due:
            yield Violation("tickets", order_id, f"{live} tickets can be used, but {due} units are paid")


def generations(end: EndState) -> Iterable[Violation]:
    """The generation of a ticket counts how often it was given away."""
    given: dict[str, int] = defaultdict(int)
    for event in end.events:
        if event.subject == "tickets.transferred":
            given[event.body["ticket_id"]] += 1
    for order_id, booking in end.bookings.items():
        for ticket in booking.get("tickets", ()):
            times = given[f"{order_id}-{ticket['unit']}"]
            if ticket["generation"] != 1 + times:
                what = f"the generation is {ticket['generation']}, but it was given away {times} times"
                yield Violation("generations", f"{order_id}-{ticket['unit']}", what)


def admitted_once(history: History, _: EndState) -> Iterable[Violation]:
    """However many gates scan a ticket at once, one is told that it admits."""
    scans: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for o in _admitted(history):
        scans[o.about["ticket_id"]].add((o.about["device"], o.about["seq"]))
    for ticket_id, made in scans.items():
        if len(made) > 1:
            yield Violation("admitted twice", ticket_id, f"{len(made)} scans were told that it admits")


def admitted_is_stored(history: History, end: EndState) -> Iterable[Violation]:
    """Whoever was told that a ticket admits is the one for whom it did."""
    for o in _admitted(history):
        order_id, _, unit = o.about["ticket_id"].partition("-")
        tickets = {str(ticket["unit"]): ticket for ticket in end.bookings.get(order_id, {}).get("tickets", ())}
        first: Json = next(iter(tickets.get(unit, {}).get("admissions", ())), {})
        if (first.get("device"), first.get("seq")) != (o.about["device"], o.about["seq"]):
            yield Violation("lost admission", o.about["ticket_id"], f"the answer to {o.about['device']} is not stored")


def old_codes_are_dead(history: History, _: EndState) -> Iterable[Violation]:
    """Once somebody has accepted a ticket, no earlier code of it admits."""
    accepted = [o for o in history.of("accept ticket") if o.status == 200]
    for o in _admitted(history):
        for one in accepted:
            same = one.about["ticket_id"] == o.about["ticket_id"] and one.answered < o.sent
            if same and o.about["generation"] < one.body["generation"]:
                yield Violation("old generation", o.about["ticket_id"], "a code of before the transfer admitted")


def _admitted(history: History) -> Iterator[Operation]:
    return (o for o in history.of("scan") if o.status == 200 and o.body["result"] == "admitted")


def _live(booking: Json) -> list[Json]:
    sale = booking.get("sale")
    return booking["tickets"] if sale and sale["payment_id"] not in booking.get("returned", ()) else []


RULES: tuple[Callable[[EndState], Iterable[Violation]], ...] = (issued, generations)
AGAINST_ANSWERS: tuple[Callable[[History, EndState], Iterable[Violation]], ...] = (
    admitted_once,
    admitted_is_stored,
    old_codes_are_dead,
)
