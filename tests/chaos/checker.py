"""The checker compares the answers that people got with the end state. Pure.

Each rule checks one promise and names every order, item or payment for which it is broken.
"""

from collections.abc import Iterable, Mapping

from tests.chaos import answer_rules as answers
from tests.chaos import door_rules as doors
from tests.chaos import money_rules as money
from tests.chaos import sale_rules as sales
from tests.chaos import state_rules as state
from tests.chaos import ticket_rules as tickets
from tests.chaos.end_state import EndState
from tests.chaos.history import History
from tests.chaos.repeats import Place
from tests.chaos.violation import Violation


def check(history: History, end: EndState, unreadable: Mapping[Place, str] | None = None) -> list[Violation]:
    """Return every broken promise. `unreadable` has the subjects of messages that were sent to become dead letters."""
    found: list[Violation] = []
    for rule in state.RULES:
        found += rule(end)
    for rule in (*money.RULES, *tickets.RULES):
        found += rule(end)
    visits = (*tickets.AGAINST_ANSWERS, *doors.AGAINST_ANSWERS)
    for compare in (*answers.RULES, *sales.RULES, *money.AGAINST_ANSWERS, *visits):
        found += compare(history, end)
    return [*found, *_dead_letters(end, unreadable or {}), *_unsettled(end)]


def _dead_letters(end: EndState, unreadable: Mapping[Place, str]) -> Iterable[Violation]:
    """Only unreadable messages are dead letters, and each of them is one for every consumer of its subject."""
    kept = {(letter.place, letter.consumer) for letter in end.dead_letters}
    for letter in end.dead_letters:
        if letter.place not in unreadable:
            what = f"{letter.consumer} dead-lettered {letter.subject}: {letter.error}"
            yield Violation("dead letter", _subject_at(letter.place, end), what)
    for place, subject in unreadable.items():
        for consumer in end.readers.get(subject, ()):
            if (place, consumer) not in kept:
                yield Violation("dropped", str(place), f"{consumer} has lost a {subject} that it could not read")


def _subject_at(place: Place, end: EndState) -> str:
    event = next((event for event in end.events if event.place == place), None)
    return str(event.body.get("order_id") or event.body.get("item_id") or place) if event else str(place)


def _unsettled(end: EndState) -> Iterable[Violation]:
    for what in end.unsettled:
        yield Violation("unsettled", "", what)
