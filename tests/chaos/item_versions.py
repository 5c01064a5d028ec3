"""The versions of an item that really were, and when orders sold by each of them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json
from tests.chaos.linearizability import NEVER

CHANGES = ("list item", "edit item", "withdraw item")


@dataclass(frozen=True)
class Version:
    """What a seller offered. Orders sold by it, or by a newer one, no later than `binding` (`NEVER`: unknown)."""

    number: int
    offer: tuple[str, int, str]
    """Title, price and currency."""
    quantity: int
    listed: bool
    since: float
    """Before this (Unix seconds) there was no such version."""
    binding: float = NEVER

    @property
    def on_sale(self) -> int:
        """Units on sale."""
        return self.quantity if self.listed else 0


def versions_of_items(history: History, end: EndState) -> dict[str, dict[int, Version]]:
    """Return the versions of each item by number: those that were published, and those that answers showed.

    An answer with `in_effect` says that orders sells by the version.
    """
    found: dict[str, dict[int, Version]] = {}
    for item, version in (*_published(end), *_answered(history)):
        found.setdefault(item, {}).setdefault(version.number, version)
    for o in history.of("edit item", "withdraw item"):
        if o.status == 200 and o.body.get("in_effect"):
            mine = found[o.body["id"]]
            for number in range(1, o.body["version"] + 1):
                if number in mine and o.answered < mine[number].binding:
                    mine[number] = _binding(mine[number], o.answered)
    return found


def _binding(version: Version, at: float) -> Version:
    return Version(version.number, version.offer, version.quantity, version.listed, version.since, at)


def _published(end: EndState) -> Iterator[tuple[str, Version]]:
    for event in end.events:
        if event.subject.startswith("items.") and "item_version" in event.body:
            yield (
                event.body["item_id"],
                _version(event.body["item_version"], event.body, event.at.timestamp() - end.skew),
            )


def _answered(history: History) -> Iterator[tuple[str, Version]]:
    for o in history.of(*CHANGES):
        if o.status in {200, 201} and "title" in o.body:
            yield o.body["id"], _version(o.body["version"], o.body, history.began)


def _version(number: int, body: Json, since: float) -> Version:
    offer = (body["title"], body["price"], body["currency"])
    return Version(number, offer, body["quantity"], body["status"] == "listed", since)
