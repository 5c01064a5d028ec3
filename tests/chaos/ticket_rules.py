"""Rules about tickets: as many as paid units, one live generation each, and an event for every change."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json
from tests.chaos.violation import Violation


def issued(end: EndState) -> Iterable[Violation]:
    """A paid order of an event has a valid or used ticket for each unit; nothing else has one."""
    for order_id, order in end.orders.items():
        is_event = end.items.get(order["item_id"], {}).get("kind") == "event"
        due = order["quantity"] if is_event and order["status"] == "paid" and not order.get("refund_requested") else 0
        booking = end.bookings.get(order_id, {})
        live = [] if not booking.get("sale") or _is_revoked(booking) else booking["tickets"]
        if len(live) != due:
            yield Violation("tickets", order_id, f"{len(live)} tickets can be used, but {due} units are paid")


def generations(end: EndState) -> Iterable[Violation]:
    """The generation of a ticket counts how often it was given away."""
    given = Counter(event.body["ticket_id"] for event in end.events if event.subject == "tickets.transferred")
    for ticket_id, ticket in tickets_of(end).items():
        times = given[ticket_id]
        if ticket["generation"] != 1 + times:
            what = f"the generation is {ticket['generation']}, but it was given away {times} times"
            yield Violation("generations", ticket_id, what)


def told(end: EndState) -> Iterable[Violation]:
    """Tickets that were issued or revoked, and each one who was let in, have their event."""
    known = Counter((event.subject, event.body.get("order_id")) for event in end.events)
    for order_id, booking in end.bookings.items():
        subject = "tickets.revoked" if _is_revoked(booking) else "tickets.issued"
        if booking.get("sale") and not known[subject, order_id]:
            yield Violation("unpublished", order_id, f"there was no {subject}")
    let_in = Counter(
        (event.body["ticket_id"], event.body["gate_id"], event.body["again"])
        for event in end.events
        if event.subject == "tickets.admitted"
    )
    for ticket_id, ticket in tickets_of(end).items():
        made = [*ticket.get("admissions", ()), *ticket.get("strays", ())]
        first = ticket.get("admissions", ())[:1]
        stored = Counter((ticket_id, scan["gate_id"], scan not in first) for scan in made)
        for key in stored.keys() | {key for key in let_in if key[0] == ticket_id}:
            if stored[key] != let_in[key]:
                what = f"{let_in[key]} tickets.admitted tell of {stored[key]} who were let in at gate {key[1]}"
                yield Violation("unpublished", ticket_id, what)


def one_holder(history: History, _end: EndState) -> Iterable[Violation]:
    """One generation of a ticket has one holder, one code and one number."""
    seen: dict[tuple[str, int], set[tuple[str, str, str]]] = defaultdict(set)
    for row in shown_tickets(history):
        if row["code"]:
            seen[row["id"], row["generation"]].add((row["holder"], row["code"], row["number"]))
    codes = defaultdict[str, set[tuple[str, int]]](set)
    for ticket, found in seen.items():
        for one in found:
            codes[one[1]].add(ticket)
        if len(found) > 1:
            yield Violation("two holders", ticket[0], f"generation {ticket[1]} was shown as {sorted(found)}")
    for tickets in codes.values():
        if len(tickets) > 1:
            yield Violation("two holders", min(tickets)[0], f"one code is that of {sorted(tickets)}")


def taken_back(history: History, _: EndState) -> Iterable[Violation]:
    """Nobody accepts a ticket that was taken back before."""
    for o in history.of("accept ticket"):
        if o.status == 200 and o.about.get("taken_back"):
            yield Violation("taken back", o.about["ticket_id"], "it was taken back, and then accepted")


def shown_tickets(history: History) -> Iterable[Json]:
    """Tickets as answers showed them to those who have bought or hold them."""
    for o in history.of("list tickets", "accept ticket"):
        if o.status == 200:
            yield from o.body if isinstance(o.body, list) else [o.body]


def tickets_of(end: EndState) -> dict[str, Json]:
    """The stored tickets by their id."""
    return {
        f"{order_id}-{ticket['unit']}": ticket
        for order_id, booking in end.bookings.items()
        for ticket in booking.get("tickets", ())
    }


def _is_revoked(booking: Json) -> bool:
    sale: Json = booking.get("sale") or {}
    return sale.get("payment_id") in booking.get("returned", ())


RULES: tuple[Callable[[EndState], Iterable[Violation]], ...] = (issued, generations, told)
AGAINST_ANSWERS: tuple[Callable[[History, EndState], Iterable[Violation]], ...] = (one_holder, taken_back)
