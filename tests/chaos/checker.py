"""The checker: what people were told against what is true in the end. Pure.

A rule looks at one promise and names every order, item or payment for which it is broken.
"""

from collections.abc import Iterable, Mapping

from tests.chaos import answer_rules as answers
from tests.chaos import money_rules as money
from tests.chaos import state_rules as books
from tests.chaos.end_state import Final
from tests.chaos.history import History
from tests.chaos.repeats import Place
from tests.chaos.violation import Violation


def check(history: History, final: Final, unreadable: Mapping[Place, str] | None = None) -> list[Violation]:
    """Return every broken promise. `unreadable` messages (their subjects) were made to end as dead letters."""
    found: list[Violation] = []
    for rule in books.RULES:
        found += rule(final)
    for rule in money.RULES:
        found += rule(final)
    for told in answers.RULES:
        found += told(history, final)
    return [*found, *_letters(final, unreadable or {}), *_quiet(final)]


def _letters(final: Final, unreadable: Mapping[Place, str]) -> Iterable[Violation]:
    """Nothing was given up but what nobody could read; and that was kept, for each who should have read it."""
    kept = {(letter.place, letter.consumer) for letter in final.letters}
    for letter in final.letters:
        if letter.place not in unreadable:
            what = f"{letter.consumer} gave up on {letter.subject}: {letter.error}"
            yield Violation("given up", _subject_at(letter.place, final), what)
    for place, subject in unreadable.items():
        for consumer in final.readers.get(subject, ()):
            if (place, consumer) not in kept:
                yield Violation("dropped", str(place), f"{consumer} has lost a {subject} that it could not read")


def _subject_at(place: Place, final: Final) -> str:
    told = next((told for told in final.told if told.place == place), None)
    return str(told.body.get("order_id") or told.body.get("item_id") or place) if told else str(place)


def _quiet(final: Final) -> Iterable[Violation]:
    for what in final.restless:
        yield Violation("restless", "", what)
