"""The index says of random items what a plain reading of the rules of a search says."""

import random
from typing import Any

import pytest

from items.index.engine import SearchEngine
from items.search import Sort, Wanted, near, words_of

SEARCHES = 200

Item = dict[str, Any]


def items(chance: random.Random, vocabulary: list[str]) -> list[Item]:
    """Items with few letters, so that many words begin alike."""
    same = {"version": 1, "seller_id": "s", "currency": "EUR", "category": "music", "kind": "thing"}
    made = []
    for number in range(300):
        title, description = (" ".join(chance.sample(vocabulary, count)) for count in (3, 6))
        city = chance.choice(["graz", "wien"])
        found_by = {"names": words_of(title), "words": words_of(title, description), "city": city, "city_key": city}
        sale = {"status": chance.choice(["listed", "paused"]), "available": chance.randrange(2)}
        made.append({"_id": f"{number:04}", **same, **found_by, **sale, "price": chance.randrange(5)})
    return made


def relevance(item: Item, words: tuple[str, ...]) -> int:
    """How well an item fits."""
    return sum(2 * (word in item["names"]) + any(name.startswith(word) for name in item["names"]) for word in words)


def plainly(of: list[Item], wanted: Wanted) -> list[Item]:
    """What is wanted, in its order."""
    known = sorted({name for item in of for name in item["names"]})

    def has(item: Item, word: str) -> bool:
        meant = near(word, known)
        return any(one.startswith(word) or one in meant for one in item["words"])

    found = [
        item
        for item in reversed(of)
        if all(has(item, word) for word in wanted.words)
        and (not wanted.city or item["city"] == wanted.city)
        and (not wanted.available or (item["status"] == "listed" and item["available"]))
    ]
    if wanted.sort is Sort.PRICE:
        found.sort(key=lambda item: item["price"])
    if wanted.sort is Sort.RELEVANCE:
        found.sort(key=lambda item: -relevance(item, wanted.words))
    return found


@pytest.mark.parametrize("most_begun", [0, 60], ids=["beginnings", "words one by one"])
def test_the_index_finds_and_counts_what_the_rules_say(most_begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("items.index.engine.MOST_BEGUN", most_begun)
    chance, engine = random.Random(3), SearchEngine()  # noqa: S311 - the same searches each time
    vocabulary = ["".join(chance.choices("abco", k=chance.randint(1, 5))) for _ in range(300)]
    engine.put(all_items := items(chance, vocabulary))
    for _ in range(SEARCHES):
        words = {chance.choice(vocabulary)[: chance.randint(1, 5)] for _ in range(chance.randint(1, 3))}
        city, sort = chance.choice([None, "graz"]), chance.choice([Sort.NEWEST, Sort.RELEVANCE, Sort.PRICE])
        wanted = Wanted(words=tuple(sorted(words)), city=city, available=chance.random() < 0.4, sort=sort)
        expected = plainly(all_items, wanted)

        assert [hit.item_id for hit in engine.find(wanted, 300, 300)] == [item["_id"] for item in expected], wanted
        assert engine.count(wanted, 1_000, ["category"]).total == len(expected), wanted
        if len(expected) > 2:
            place = expected[1] | {"relevance": relevance(expected[1], wanted.words)}
            later = [hit.item_id for hit in engine.find(wanted, 300, 300, place)]
            assert later == [item["_id"] for item in expected[2:]], wanted
