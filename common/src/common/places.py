"""How many people may be at something costly at the same time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import TooMany, Unavailable


class Places:
    """`most` places, of which one person takes at most `per_person`: a few people can't keep all others out.

    Each process counts its own.
    """

    def __init__(self, per_person: int, most: int) -> None:
        self._per_person = per_person
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken_by(self, user_id: str) -> Iterator[None]:
        """Hold a place inside. Raises `TooMany` with all of this person's taken, `Unavailable` with all of them."""
        if self._taken[user_id] >= self._per_person:
            raise TooMany(f"at most {self._per_person} at a time; try again when one of them is done", 1)
        if self._taken.total() >= self._most:
            raise Unavailable("too many people are doing this right now; try again in a moment")
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]
