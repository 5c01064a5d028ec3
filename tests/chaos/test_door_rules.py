"""The rules of tickets and doors: what they let pass, and for each a history and an end state that break it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.history import Json
from tests.chaos.town import Town


class Venue(Town):
    """The town, where the item is an event, and the order has its two tickets."""

    def __init__(self) -> None:
        super().__init__()
        self.item["kind"] = "event"
        self.tickets = [self.stored(unit) for unit in (1, 2)]
        sale = {"payment_id": "p1", "item_id": "i1", "buyer_id": "bea", "quantity": 2}
        self.booking: Json = {"sale": sale, "returned": [], "tickets": self.tickets}
        self.end.bookings = {"o1": self.booking}
        self.publish("tickets.issued", order_id="o1")
        self.asked("place", 201, self.view(), item_id="i1", quantity=2)

    @staticmethod
    def stored(unit: int) -> Json:
        """A ticket as tickets keeps it."""
        return {"unit": unit, "generation": 1, "admissions": [], "strays": [], "refusals": []}

    def row(self, unit: int = 1, generation: int = 1, holder: str = "bea", **more: Any) -> Json:
        """A ticket as its holder sees it."""
        seen = {"id": f"o1-{unit}", "item_id": "i1", "generation": generation, "holder": holder, "status": "valid"}
        return {**seen, "number": f"N-{unit}-{generation}", "code": f"CODE-{unit}-{generation}", **more}

    def shown(self, unit: int = 1, generation: int = 1, gate: str = "North", **more: Any) -> Json:
        """What the history says of a ticket that was shown at a gate."""
        what = {"ticket_id": f"o1-{unit}", "generation": generation, "number": f"N-{unit}-{generation}"}
        return {**what, "item_id": "i1", "gate_name": gate, "forged": False, "elsewhere": False, **more}

    def scan(self, result: str, device: str = "D", seq: int = 1, **shown: Any) -> None:
        """A gate has asked about a ticket."""
        about = {**self.shown(**shown), "code": "CODE", "device": device, "seq": seq}
        self.asked("scan", 200, {"result": result}, **about)

    def send(
        self, result: str, device: str = "P", seq: int = 1, let_in: bool = True, gate: str = "South", **shown: Any
    ) -> None:
        """A phone has sent a scan that it made without a network."""
        made = {"code": "CODE", "device": device, "seq": seq, "admitted": let_in}
        what = [self.shown(**{"gate": gate, **shown})]
        self.asked("send scans", 200, [{"result": result}], item_id="i1", scans=[made], shown=what)

    def keep(self, unit: int, device: str, seq: int = 1, gate: str = "North", kind: str = "admissions") -> None:
        """Tickets keeps that somebody was let in, and tells it."""
        kept = self.tickets[unit - 1]
        again = kind == "strays" or bool(kept["admissions"])
        kept[kind].append({"gate_id": gate, "device": device, "seq": seq, "let_in": True})
        self.publish("tickets.admitted", ticket_id=f"o1-{unit}", gate_id=gate, again=again)

    def named(self, unit: int, first: str, second: str, generation: int = 1, reason: str = "already_used") -> Json:
        """What the seller is told of somebody who should not have been let in."""
        number = f"N-{unit}-{generation}"
        return {"number": number, "reason": reason, "first_gate": first, "second_gate": second}

    def door(self, *extras: Json, missing: tuple[Json, ...] = ()) -> None:
        """The seller has looked at the door."""
        self.asked("show door", 200, {"extras": list(extras), "missing": list(missing)}, item_id="i1")

    def give_away(self, unit: int = 2) -> None:
        """Cleo has accepted a ticket."""
        generation = self.tickets[unit - 1]["generation"] = self.tickets[unit - 1]["generation"] + 1
        self.asked("accept ticket", 200, self.row(unit, generation, "cleo"), ticket_id=f"o1-{unit}")
        self.publish("tickets.transferred", ticket_id=f"o1-{unit}")

    def list_for_gates(self, *tickets: Json, later: float = 60) -> None:
        """A gate has fetched the list."""
        self.asked("fetch list", 200, {"content": json.dumps({"tickets": tickets})}, item_id="i1")
        last = self.history.operations[-1]
        self.history.operations[-1] = replace(last, sent=last.sent + later, answered=last.answered + later)

    def refund(self) -> None:
        """The order is refunded, and its tickets with it."""
        self.order["status"] = self.payment["status"] = "refunded"
        self.stock["taken"], self.item["available"] = 0, 5
        self.charge["refunded_at"] = self.order["expires_at"]
        self.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000)
        self.booking["returned"] = ["p1"]
        self.publish("tickets.revoked", order_id="o1")


def visited(venue: Venue) -> None:
    """One ticket is copied, the other one given away and shown twice; somebody tries a forged code."""
    venue.asked("list tickets", 200, [venue.row(1), venue.row(2)], order_id="o1")
    venue.scan("admitted", "D", 1)
    venue.keep(1, "D")
    venue.scan("already_used", "E", 1, gate="South")
    venue.send("already_used", "P", 1)
    venue.send("already_used", "P", 1)  # Its answer was lost.
    venue.keep(1, "P", 1, "South")
    venue.give_away(2)
    venue.send("revoked", "P", 2, unit=2)
    venue.keep(2, "P", 2, "South", kind="strays")
    venue.scan("revoked", "D", 2, unit=2)
    venue.send("admitted", "P", 3, unit=2, generation=2)
    venue.keep(2, "P", 3, "South")
    venue.send("unknown", "P", 4, unit=2, forged=True)
    venue.scan("unknown", "D", 3, forged=True)
    venue.scan("wrong_event", "D", 4, elsewhere=True)
    venue.send("already_used", "P", 5, let_in=False)
    used, other = {"generation": 1, "status": "used"}, {"generation": 2, "status": "used"}
    venue.list_for_gates({"id": "o1-1", **used}, {"id": "o1-2", **other})
    venue.door(venue.named(1, "North", "South"), venue.named(2, "South", "South", reason="given_away"))


def refunded_and_shown(venue: Venue) -> None:
    """A refunded ticket is shown at a gate, and a phone that could not know has let somebody in."""
    venue.refund()
    venue.asked("list tickets", 200, [venue.row(status="revoked")], order_id="o1")
    venue.scan("revoked", "E")
    venue.send("revoked")
    venue.keep(1, "P", 1, "South", kind="strays")
    venue.door(venue.named(1, "South", "South", reason="revoked"))


def sent_again_after_the_refund(venue: Venue) -> None:
    """The answer to a scan was lost; when it is sent again, the ticket is revoked, and the answer stays."""
    venue.asked("scan", None, "ReadTimeout", **{**venue.shown(), "code": "CODE", "device": "D", "seq": 1})
    venue.keep(1, "D")
    refunded_and_shown(venue)
    venue.scan("admitted")
    venue.door(venue.named(1, "North", "South", reason="revoked"))


def list_of_the_same_second(venue: Venue) -> None:
    """A primary that was deposed a moment ago may show a list of before."""
    venue.refund()
    venue.asked("list tickets", 200, [venue.row(status="revoked")], order_id="o1")
    venue.list_for_gates({"id": "o1-1", "generation": 1, "status": "valid"}, later=0)


@pytest.mark.parametrize("story", [visited, refunded_and_shown, sent_again_after_the_refund, list_of_the_same_second])
def test_where_every_promise_is_kept_nothing_is_found(story: Callable[[Venue], None]) -> None:
    venue = Venue()
    story(venue)

    assert venue.broken() == set()


def fewer_tickets(venue: Venue) -> None:
    venue.tickets.pop()


def tickets_for_no_money(venue: Venue) -> None:
    venue.refund()
    venue.booking["returned"] = []


def generation_without_a_transfer(venue: Venue) -> None:
    venue.tickets[0]["generation"] = 2


def transfer_without_a_generation(venue: Venue) -> None:
    venue.publish("tickets.transferred", ticket_id="o1-1")


def two_of_one_generation(venue: Venue) -> None:
    venue.asked("list tickets", 200, [venue.row(1), venue.row(1, holder="cleo")], order_id="o1")


def one_code_for_two(venue: Venue) -> None:
    venue.asked("list tickets", 200, [venue.row(1, code="C"), venue.row(2, code="C")], order_id="o1")


def accepted_though_taken_back(venue: Venue) -> None:
    venue.give_away(1)
    venue.history.operations[-1].about["taken_back"] = True


def revoked_in_secret(venue: Venue) -> None:
    venue.refund()
    venue.lose("tickets.revoked")


def admission_that_nobody_was_told_of(venue: Venue) -> None:
    venue.scan("admitted")
    venue.keep(1, "D")
    venue.lose("tickets.admitted")


def extra_admission_told_as_the_first(venue: Venue) -> None:
    visited(venue)
    for event in venue.events:
        if event.subject == "tickets.admitted":
            event.body["again"] = False


def admitted_at_two_gates(venue: Venue) -> None:
    venue.scan("admitted", "D")
    venue.scan("admitted", "E", gate="South")


def admitted_online_and_by_a_phone(venue: Venue) -> None:
    venue.scan("admitted", "D")
    venue.send("admitted", "P")


def admitted_and_forgotten(venue: Venue) -> None:
    venue.scan("admitted")


def admitted_for_another(venue: Venue) -> None:
    venue.scan("admitted", "D")
    venue.keep(1, "E")


def old_code_admitted(venue: Venue) -> None:
    venue.give_away(1)
    venue.scan("admitted")


def old_code_of_a_phone_admitted(venue: Venue) -> None:
    venue.give_away(1)
    venue.send("admitted")


def revoked_code_admitted(venue: Venue) -> None:
    venue.refund()
    venue.asked("list tickets", 200, [venue.row(status="revoked")], order_id="o1")
    venue.scan("admitted")


def forged_and_counted(venue: Venue) -> None:
    venue.send("unknown", forged=True)
    venue.keep(1, "P", 1, "South")


def scan_of_nobody(venue: Venue) -> None:
    venue.keep(1, "X")


def counted_for_two_tickets(venue: Venue) -> None:
    visited(venue)
    venue.keep(2, "P", 1, "South")


def forgotten_by_the_server(venue: Venue) -> None:
    visited(venue)
    venue.tickets[0]["admissions"].pop()


def let_in_and_kept_as_turned_away(venue: Venue) -> None:
    visited(venue)
    kept = venue.tickets[0]["admissions"].pop()
    venue.tickets[0]["refusals"].append(kept | {"let_in": False})


def answered_twice(venue: Venue) -> None:
    venue.send("admitted")
    venue.send("already_used")


def extra_without_a_name(venue: Venue) -> None:
    visited(venue)
    venue.door(venue.named(1, "North", "South"))


def extra_at_the_wrong_gate(venue: Venue) -> None:
    visited(venue)
    venue.door(venue.named(1, "South", "South"), venue.named(2, "South", "South", reason="given_away"))


def extra_for_the_wrong_reason(venue: Venue) -> None:
    visited(venue)
    venue.door(venue.named(1, "North", "South"), venue.named(2, "South", "South"))


def extra_of_nobody(venue: Venue) -> None:
    visited(venue)
    more = [venue.named(1, "North", "South"), venue.named(2, "South", "South", reason="given_away")]
    venue.door(*more, venue.named(2, "South", "North"))


def nobody_has_looked(venue: Venue) -> None:
    venue.send("admitted")
    venue.keep(1, "P", 1, "South")


def looked_before_all_was_sent(venue: Venue) -> None:
    venue.door()
    nobody_has_looked(venue)


def missing_though_answered(venue: Venue) -> None:
    visited(venue)
    extras = [venue.named(1, "North", "South"), venue.named(2, "South", "South", reason="given_away")]
    venue.door(*extras, missing=({"device": "P", "gate": "South", "count": 1},))


def listed_at(status: str, generation: int) -> Callable[[Venue], None]:
    """A list that has this of a ticket that was given away, and then used."""

    def story(venue: Venue) -> None:
        venue.give_away(2)
        venue.scan("admitted", unit=2, generation=2)
        venue.keep(2, "D")
        venue.list_for_gates({"id": "o1-2", "generation": generation, "status": status})

    return story


def not_listed(venue: Venue) -> None:
    venue.asked("list tickets", 200, [venue.row(1)], order_id="o1")
    venue.list_for_gates()


def listed_after_the_refund(venue: Venue) -> None:
    venue.refund()
    venue.asked("list tickets", 200, [venue.row(status="revoked")], order_id="o1")
    venue.list_for_gates({"id": "o1-1", "generation": 1, "status": "valid"})


BROKEN: list[tuple[str, Callable[[Venue], None]]] = [
    ("tickets", fewer_tickets),
    ("tickets", tickets_for_no_money),
    ("generations", generation_without_a_transfer),
    ("generations", transfer_without_a_generation),
    ("two holders", two_of_one_generation),
    ("two holders", one_code_for_two),
    ("taken back", accepted_though_taken_back),
    ("unpublished", lambda venue: venue.lose("tickets.issued")),
    ("unpublished", revoked_in_secret),
    ("unpublished", admission_that_nobody_was_told_of),
    ("unpublished", extra_admission_told_as_the_first),
    ("admitted twice", admitted_at_two_gates),
    ("admitted twice", admitted_online_and_by_a_phone),
    ("lost admission", admitted_and_forgotten),
    ("lost admission", admitted_for_another),
    ("old generation", old_code_admitted),
    ("old generation", old_code_of_a_phone_admitted),
    ("revoked", revoked_code_admitted),
    ("forged", lambda venue: venue.scan("admitted", forged=True)),
    ("forged", lambda venue: venue.send("already_used", forged=True)),
    ("forged", forged_and_counted),
    ("another event", lambda venue: venue.scan("admitted", elsewhere=True)),
    ("counted twice", scan_of_nobody),
    ("counted twice", counted_for_two_tickets),
    ("lost scan", forgotten_by_the_server),
    ("lost scan", let_in_and_kept_as_turned_away),
    ("two answers", answered_twice),
    ("extra", extra_without_a_name),
    ("extra", extra_at_the_wrong_gate),
    ("extra", extra_for_the_wrong_reason),
    ("extra", extra_of_nobody),
    ("extra", nobody_has_looked),
    ("extra", looked_before_all_was_sent),
    ("missing", missing_though_answered),
    ("list", listed_at("used", 1)),
    ("list", listed_at("valid", 2)),
    ("list", not_listed),
    ("list", listed_after_the_refund),
]


@pytest.mark.parametrize(("rule", "break_it"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_broken_promise_is_found(rule: str, break_it: Callable[[Venue], object]) -> None:
    venue = Venue()
    break_it(venue)

    assert rule in venue.broken()
