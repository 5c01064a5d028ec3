"""Rules about doors: a ticket admits once, and whoever a phone without a network let in beside that is named."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json, Operation
from tests.chaos.ticket_rules import tickets_of
from tests.chaos.violation import Violation

Key = tuple[str, str, int]
"""Item, device and number of a scan: no device scans at two gates of an event."""

OLD_READ = 10.0
"""Seconds for which a primary that was deposed, and does not know it yet, may show an older list."""


@dataclass(frozen=True)
class Scan:
    """A scan, and one of the answers to it: there are several if it was sent several times."""

    about: Json
    """What was shown, and at which gate: see `Shown.at`."""
    made: Json
    """The scan as it was sent."""
    offline: bool
    operation: Operation
    answer: Json
    """Empty if there was none."""

    @property
    def ticket_id(self) -> str:
        """The ticket that was shown, or that somebody has forged something of."""
        return str(self.about["ticket_id"])

    @property
    def key(self) -> Key:
        """The same, however often it was sent."""
        return self.about["item_id"], self.made["device"], self.made["seq"]

    @property
    def result(self) -> Any:
        """What the server said."""
        return self.answer.get("result")

    @property
    def let_in(self) -> bool:
        """Whether somebody was let in without asking the server."""
        return self.offline and bool(self.made["admitted"])

    @property
    def worthless(self) -> bool:
        """Whether it stands for no ticket of this event."""
        return bool(self.about["forged"] or self.about["elsewhere"])


def scans(history: History) -> Iterator[Scan]:
    """Every scan with each of its answers, in the order of those."""
    for o in history.of("scan"):
        yield Scan(o.about, o.about, False, o, o.body if o.status == 200 else {})
    for o in history.of("send scans"):
        answers = o.body if o.status == 200 else [{}] * len(o.about["scans"])
        for about, made, answer in zip(o.about["shown"], o.about["scans"], answers, strict=True):
            yield Scan(about, made, True, o, answer)


def admitted_once(history: History, _: EndState) -> Iterable[Violation]:
    """However many gates scan a ticket at once, one is told that it admits; so is a phone that sends its scan later."""
    made: dict[str, set[Key]] = defaultdict(set)
    for scan in _admitted(history):
        made[scan.ticket_id].add(scan.key)
    for ticket_id, keys in made.items():
        if len(keys) > 1:
            yield Violation("admitted twice", ticket_id, f"{len(keys)} scans were told that it admits")


def admitted_is_stored(history: History, end: EndState) -> Iterable[Violation]:
    """Whoever was told that a ticket admits is the one for whom it did."""
    tickets = tickets_of(end)
    for scan in _admitted(history):
        first: Json = next(iter(tickets.get(scan.ticket_id, {}).get("admissions", ())), {})
        if (first.get("device"), first.get("seq")) != scan.key[1:]:
            yield Violation("lost admission", scan.ticket_id, f"the answer to {scan.made['device']} is not stored")


def old_codes_are_dead(history: History, _: EndState) -> Iterable[Violation]:
    """Once somebody has accepted a ticket, no earlier code or number of it admits."""
    accepted, sent = [o for o in history.of("accept ticket") if o.status == 200], _first_sent(history)
    for scan in _admitted(history):
        for one in accepted:
            same = one.about["ticket_id"] == scan.ticket_id and one.answered < sent[scan.key]
            if same and scan.about["generation"] < one.body["generation"]:
                yield Violation("old generation", scan.ticket_id, "a code of before the transfer admitted")


def revoked_are_dead(history: History, _: EndState) -> Iterable[Violation]:
    """Once an answer has shown that a ticket is revoked, nothing of it admits."""
    revoked, sent = _first_seen(history, "revoked"), _first_sent(history)
    for scan in _admitted(history):
        if revoked.get(scan.ticket_id, sent[scan.key]) < sent[scan.key]:
            yield Violation("revoked", scan.ticket_id, f"it was revoked, and {scan.made['device']} was told to admit")


def worthless_are_unknown(history: History, end: EndState) -> Iterable[Violation]:
    """What somebody has forged, and the ticket of another event, lets nobody in, whatever a phone says."""
    worthless = {scan.key: scan for scan in scans(history) if scan.worthless}
    for scan in scans(history):
        right = {None, "unknown"} if scan.about["forged"] else {None, "unknown", "wrong_event"}
        if scan.worthless and scan.result not in right:
            what = f"{scan.made['code'][:24]} was answered with {scan.result}"
            yield Violation("forged" if scan.about["forged"] else "another event", scan.ticket_id, what)
    for ticket_id, stored in _stored(end):
        if worthless.get(_key(end, ticket_id, stored)):
            yield Violation("forged", ticket_id, f"it was worth nothing, and is counted for {stored['device']}")


def counted_once(history: History, end: EndState) -> Iterable[Violation]:
    """A scan that a ticket keeps was made by somebody, and however often it was sent, one ticket keeps it once."""
    made = {scan.key for scan in scans(history)}
    for key, times in Counter(_key(end, ticket_id, stored) for ticket_id, stored in _stored(end)).items():
        if times > 1:
            yield Violation("counted twice", key[0], f"scan {key[2]} of {key[1]} is counted {times} times")
        if key not in made:
            yield Violation("counted twice", key[0], f"nobody has made scan {key[2]} of {key[1]}")


def let_in_is_stored(history: History, end: EndState) -> Iterable[Violation]:
    """Whom a phone has let in is kept with the ticket, once its scan was answered."""
    stored = {_key(end, ticket_id, one) for ticket_id, one in _stored(end) if one.get("let_in", True)}
    for key, scan in _let_in(history).items():
        if key not in stored:
            yield Violation("lost scan", scan.ticket_id, f"scan {key[2]} of {key[1]} was answered, and is not stored")


def same_again(history: History, _: EndState) -> Iterable[Violation]:
    """A scan that has let somebody in is answered alike each time that it is sent."""
    answers: dict[Key, set[str]] = defaultdict(set)
    let_in = {scan.key: scan for scan in scans(history) if scan.let_in or scan.result == "admitted"}
    for scan in scans(history):
        if scan.key in let_in and scan.answer:
            answers[scan.key].add(scan.result)
    for key, said in answers.items():
        if len(said) > 1:
            what = f"scan {key[2]} of {key[1]} was answered with {', '.join(sorted(said))}"
            yield Violation("two answers", let_in[key].ticket_id, what)


def extras_are_named(history: History, end: EndState) -> Iterable[Violation]:
    """Once all has been sent, the seller sees everybody who was let in beside those admitted, with both gates."""
    expected: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    tickets, sent = tickets_of(end), dict[str, float]()
    gates = {scan.key: str(scan.about["gate_name"]) for scan in scans(history)}
    for key, scan in _let_in(history).items():
        ticket = tickets.get(scan.ticket_id, {"generation": 0})
        first: Json = next(iter(ticket.get("admissions", ())), scan.made)
        sent[key[0]] = max(sent.get(key[0], 0), scan.operation.answered)
        first_key = key[0], first["device"], first["seq"]
        if first_key != key or not ticket.get("admissions"):
            why = _why(scan, ticket)
            expected[key[0]][scan.about["number"], why, gates.get(first_key, "?"), gates[key]] += 1
    doors = {o.about["item_id"]: o for o in history.of("show door") if o.status == 200}
    for item_id, at in sent.items():
        if item_id not in doors or doors[item_id].sent < at:
            yield Violation("extra", item_id, "nobody was told who was let in")
            continue
        names = ("number", "reason", "first_gate", "second_gate")
        named = Counter(tuple(str(extra[name]) for name in names) for extra in doors[item_id].body["extras"])
        if named != expected[item_id]:
            what = f"not named: {dict(expected[item_id] - named)}; named for nothing: {dict(named - expected[item_id])}"
            yield Violation("extra", item_id, what)


def nothing_is_missing(history: History, _: EndState) -> Iterable[Violation]:
    """Once all scans of a device were answered, the seller is told of none that is on its way."""
    made: dict[str, set[Key]] = defaultdict(set)
    answered: dict[str, set[Key]] = defaultdict(set)
    last: dict[str, float] = defaultdict(float)
    for scan in scans(history):
        made[scan.made["device"]].add(scan.key)
        if scan.answer:
            answered[scan.made["device"]].add(scan.key)
            last[scan.made["device"]] = max(last[scan.made["device"]], scan.operation.answered)
    for o in history.of("show door"):
        for one in o.body["missing"] if o.status == 200 else ():
            device = one["device"]
            if made[device] and made[device] == answered[device] and last[device] < o.sent:
                what = f"{one['count']} scans of {device} are said to be on their way"
                yield Violation("missing", o.about["item_id"], what)


def lists_are_true(history: History, _: EndState) -> Iterable[Violation]:
    """The list for a gate has every ticket, generation and status that an answer has shown `OLD_READ` s before."""
    tickets: dict[str, dict[str, float]] = defaultdict(dict)
    seen = {status: _first_seen(history, status) for status in ("revoked", "used")}
    generations: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for o in history.of("list tickets", "accept ticket"):
        for row in _rows(o):
            tickets[row["item_id"]].setdefault(row["id"], o.answered)
            generations[row["id"]].append((o.answered, row["generation"]))
    for o in history.of("fetch list"):
        if o.status != 200:
            continue
        known = o.sent - OLD_READ
        listed = {one["id"]: one for one in json.loads(o.body["content"])["tickets"]}
        for ticket_id, first in tickets[o.about["item_id"]].items():
            if first >= known:
                continue
            row = listed.get(ticket_id, {"generation": 0, "status": "missing"})
            newest = max(generation for answered, generation in generations[ticket_id] if answered < known)
            void = seen["revoked"].get(ticket_id, known) < known
            used = seen["used"].get(ticket_id, known) < known
            wrong = row["generation"] < newest or (void and row["status"] != "revoked")
            if wrong or (used and row["status"] not in {"used", "revoked"}):
                what = f"the list has it as {row}, but it was seen before at generation {newest}"
                yield Violation("list", ticket_id, f"{what}{', revoked' * void}{', used' * used}")


def _admitted(history: History) -> Iterator[Scan]:
    return (scan for scan in scans(history) if scan.result == "admitted")


def _first_sent(history: History) -> dict[Key, float]:
    """When each scan was sent for the first time: what was decided then stays."""
    sent: dict[Key, float] = {}
    for scan in scans(history):
        sent[scan.key] = min(scan.operation.sent, sent.get(scan.key, scan.operation.sent))
    return sent


def _let_in(history: History) -> dict[Key, Scan]:
    """Whom phones have let in with the ticket of somebody, once that was answered."""
    return {scan.key: scan for scan in scans(history) if scan.let_in and scan.answer and not scan.worthless}


def _stored(end: EndState) -> Iterator[tuple[str, Json]]:
    """Every scan that a ticket keeps."""
    for ticket_id, ticket in tickets_of(end).items():
        for kind in ("admissions", "strays", "refusals"):
            yield from ((ticket_id, stored) for stored in ticket.get(kind, ()))


def _key(end: EndState, ticket_id: str, stored: Json) -> Key:
    item_id = end.bookings[ticket_id.partition("-")[0]]["sale"]["item_id"]
    return item_id, stored["device"], stored["seq"]


def _why(scan: Scan, ticket: Json) -> str:
    if scan.result != "revoked":
        return "already_used"
    return "given_away" if scan.about["generation"] < ticket["generation"] else "revoked"


def _first_seen(history: History, status: str) -> dict[str, float]:
    """When an answer first showed that a ticket has a status."""
    seen: dict[str, float] = {}
    for o in history.of("list tickets", "accept ticket"):
        for row in _rows(o):
            if row["status"] == status:
                seen[row["id"]] = min(o.answered, seen.get(row["id"], o.answered))
    if status == "used":
        for scan in _admitted(history):
            seen[scan.ticket_id] = min(scan.operation.answered, seen.get(scan.ticket_id, scan.operation.answered))
    return seen


def _rows(o: Operation) -> list[Json]:
    if o.status != 200:
        return []
    return o.body if isinstance(o.body, list) else [o.body]


AGAINST_ANSWERS: tuple[Callable[[History, EndState], Iterable[Violation]], ...] = (
    admitted_once,
    admitted_is_stored,
    old_codes_are_dead,
    revoked_are_dead,
    worthless_are_unknown,
    counted_once,
    let_in_is_stored,
    same_again,
    extras_are_named,
    nothing_is_missing,
    lists_are_true,
)
