"""`python -m bench.search [ITEMS]`: how long searches of items take, and how large their indexes are.

Each search is one page of 20 with its counts, as the page of a browser asks for it, one after the other in one
process: by the index of the process, and by MongoDB alone, in turns. Prints p50 and p99 by kind of search, the CPU of
a search in the process and in MongoDB, and the ratio of that, which depends least on how busy the machine is.
"""

import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles

from bench.load import cpu_seconds
from common.events import Category, Currency, ItemKind
from common.mongo.client import Collection, Database, database
from infra.servers.mongo import MongoServer
from items.catalogue_store import BY_CURRENCY, CatalogueStore
from items.domain import Item
from items.index.feed import IndexFeed
from items.memory import ItemMemory
from items.search import Sort, Wanted, searched, words_of
from items.store import ItemStore
from tests.support.waiting import eventually

ITEMS = 100_000
SELLERS = 2_000
ROUNDS = 200
SYLLABLES = [consonant + vowel for consonant in "bdklmnrst" for vowel in "aeio"]
CITIES = ("Berlin", "München", "Köln", "Zürich", "Wien", "Hamburg", "Paris", "London", "Łódź", "Graz")


VOCABULARY = ["".join(own.choices(SYLLABLES, k=own.randint(2, 4))) for own in map(random.Random, range(50_000))]


def word(chance: random.Random) -> str:
    """A word, frequent ones as often as in a language: the n-th most frequent one about 1/n as often as the first."""
    return VOCABULARY[int(len(VOCABULARY) ** chance.random()) - 1]


def offer(number: int, chance: random.Random) -> Item:
    """An item with six words in its title and forty in its description."""
    event = chance.random() < 0.7
    details = {
        "starts_at": datetime(2030, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(9_000)),
        "venue": " ".join(word(chance) for _ in range(2)),
        "city": chance.choice(CITIES),
    }
    return Item.offer(
        seller_id=f"seller-{number % SELLERS}",
        title=" ".join(word(chance) for _ in range(6)),
        description=" ".join(word(chance) for _ in range(40)),
        price=chance.randrange(500, 20_000),
        currency=Currency.EUR,
        quantity=100,
        category=chance.choice(list(Category)),
        kind=ItemKind.EVENT if event else ItemKind.THING,
        now=datetime.now(UTC),
        **(details if event else {}),  # type: ignore[arg-type]
    )


async def fill(items_of: Collection, count: int) -> None:
    """Insert so many items, as they would be saved."""
    chance = random.Random(1)
    names = {f"seller-{n}": f"{word(chance)} {word(chance)}".title() for n in range(SELLERS)}
    for begin in range(0, count, 2_000):
        items = [offer(n, chance) for n in range(begin, min(begin + 2_000, count))]
        for item in items:
            item.seller_name = names[item.seller_id]
            item.seller_words = tuple(words_of(item.seller_name))
        rows = [{"_id": item.id, "version": 1, **item.to_document()} for item in items]
        await items_of.insert_many([{k: v for k, v in row.items() if v is not None} for row in rows], ordered=False)
        print(f"\r{begin + len(items):,} items", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


Wish = Callable[[random.Random], Wanted]


class Still(ItemMemory):
    """No news are missing, since nothing changes."""

    def news_age(self) -> float:
        """None at all."""
        return 0.0


@dataclass
class Way:
    """A way to search, and what the searches of one kind took: milliseconds, also of CPU, here and in MongoDB."""

    name: str
    catalogue: CatalogueStore
    times: list[float] = field(default_factory=list)
    cpu: float = 0.0

    async def search(self, wanted: Wanted, mongo: int) -> None:
        """A page and its counts, as the page of a browser asks for them."""
        began, used = time.perf_counter(), time.process_time() + cpu_seconds(mongo)
        await asyncio.gather(self._page(wanted), self.catalogue.facets(wanted))
        self.times.append((time.perf_counter() - began) * 1000)
        self.cpu += (time.process_time() + cpu_seconds(mongo) - used) * 1000

    async def _page(self, wanted: Wanted) -> None:
        if wanted.sort in BY_CURRENCY:
            await self.catalogue.page(wanted, 21)
        else:
            await self.catalogue.page_with_sold_out_last(wanted, 21, None, in_sold_out=False)

    def summary(self) -> str:
        """The figures."""
        ms = quantiles(self.times, n=100)
        cpu = self.cpu / len(self.times)
        return f"{self.name}: p50 {ms[49]:6.1f} p99 {ms[98]:6.1f} ms, CPU {cpu:5.1f} ms"


async def measure(name: str, wanted: Wish, db: Database, feed: IndexFeed, pid: int) -> None:
    """Print the figures of one kind of search: by the index, and by MongoDB alone, in turns."""
    chance = random.Random(2)
    ways = [Way("index", CatalogueStore(db, feed)), Way("MongoDB", CatalogueStore(db))]
    for way in ways:
        await way.catalogue.page(Wanted(words=("a",)), 1)  # It learns the words.
    for counter in range(ROUNDS):
        one = wanted(chance)
        for way in ways if counter % 2 else ways[::-1]:
            await way.search(replace(one, not_over_by=datetime.now(UTC)), pid)
    ratio = ways[0].cpu / ways[1].cpu
    print(f"{name:34} {'   '.join(way.summary() for way in ways)}   CPU {ratio:.2f}", flush=True)


def mistaken(chance: random.Random) -> str:
    """A word with two letters swapped."""
    right = word(chance)
    at = chance.randrange(len(right) - 1)
    return right[:at] + right[at + 1] + right[at] + right[at + 2 :]


Kinds = dict[str, Wish]

KINDS: Kinds = {
    "newest, first page": lambda _: Wanted(),
    "one word": lambda c: Wanted(words=(word(c),)),
    "beginning of two letters": lambda c: Wanted(words=(word(c)[:2],)),
    "beginning of four letters": lambda c: Wanted(words=(word(c)[:4],), sort=Sort.RELEVANCE),
    "two words, by relevance": lambda c: Wanted(words=(word(c), word(c)), sort=Sort.RELEVANCE),
    "a word with a mistake": lambda c: Wanted(words=(mistaken(c),), sort=Sort.RELEVANCE),
    "a city and a category, by price": lambda c: Wanted(
        city=c.choice(CITIES), category=c.choice(list(Category)), sort=Sort.PRICE
    ),
    "a word in a city, soonest": lambda c: Wanted(
        words=searched(word(c)), city=c.choice(CITIES), sort=Sort.SOONEST, starts_from=datetime(2030, 3, 1, tzinfo=UTC)
    ),
}

ALSO_SOLD_OUT = ("newest, first page", "one word", "beginning of four letters", "two words, by relevance")


async def run(count: int) -> None:
    """Measure with servers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        mongo = MongoServer(Path(folder, "mongo"))
        await mongo.start()
        try:
            async with database(mongo.url_for("items"), timeout=120) as db:
                await fill(db.items, count)
                await ItemStore(db, None).prepare()  # type: ignore[arg-type]  # nothing is published
                await CatalogueStore(db).prepare()
                assert mongo.pid  # noqa: S101 - it was started
                await measure_all(db, mongo.pid)
        finally:
            await mongo.stop()


async def measure_all(db: Database, pid: int) -> None:
    """Print all figures, then those of lists where all but one of fifty are sold out."""
    await measure_kinds(KINDS, db, pid)
    stats = await db.command("collStats", "items")
    sizes = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in stats["indexSizes"].items())
    print(f"MB of data {stats['size'] / 2**20:.1f}, of indexes: {sizes}")
    lucky = [f"seller-{number}" for number in range(0, SELLERS, 50)]
    await db.items.update_many({"seller_id": {"$nin": lucky}}, {"$set": {"available": 0}})
    print("nearly all sold out:")
    await measure_kinds({name: KINDS[name] for name in ALSO_SOLD_OUT}, db, pid)


async def measure_kinds(kinds: Kinds, db: Database, pid: int) -> None:
    """Print the figures of some kinds of searches."""
    before, began = _resident(), time.process_time()
    async with IndexFeed(db, Still()).running() as feed:
        await eventually(feed.up_to_date, 600)
        print(f"the index took {time.process_time() - began:.1f} s of CPU and {_resident() - before:.0f} MB")
        for name, wanted in kinds.items():
            await measure(name, wanted, db, feed, pid)


def _resident() -> float:
    """MB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS))
