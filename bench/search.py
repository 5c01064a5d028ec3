"""`python -m bench.search [ITEMS]`: how long searches of items take, and how large their indexes are.

Each search is one page of 20 with its counts, as the page of a browser asks for it, one after the other in one process.
Prints p50 and p99 by kind of search: milliseconds, and of each of its queries the documents that were looked at, which
does not depend on how busy the machine is.
"""

import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles

from common.events import Category, Currency, ItemKind
from common.mongo.client import Collection, Database, database
from infra.servers.mongo import MongoServer
from items.catalogue_store import CatalogueStore
from items.domain import Item
from items.search import Sort, Wanted, searched, words_of
from items.store import ItemStore

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


async def measure(
    name: str, wanted: Callable[[random.Random], Wanted], catalogue: CatalogueStore, db: Database
) -> None:
    """Print the figures of one kind of search."""
    chance, times = random.Random(2), []
    began_at = datetime.now(UTC)
    await db.command("profile", 2)
    for _ in range(ROUNDS):
        one = wanted(chance)
        began = time.perf_counter()
        await asyncio.gather(catalogue.page(one, 21), catalogue.facets(one))
        times.append((time.perf_counter() - began) * 1000)
    await db.command("profile", 0)
    queries = db["system.profile"].find({"docsExamined": {"$exists": True}, "ts": {"$gte": began_at}})
    looked_at = [query["docsExamined"] async for query in queries]
    ms, documents = quantiles(times, n=100), quantiles(looked_at, n=100)
    print(
        f"{name:34} p50 {ms[49]:7.1f} ms   p99 {ms[98]:7.1f} ms   "
        f"documents p50 {documents[49]:6.0f}   p99 {documents[98]:6.0f}"
    )


def mistaken(chance: random.Random) -> str:
    """A word with two letters swapped."""
    right = word(chance)
    at = chance.randrange(len(right) - 1)
    return right[:at] + right[at + 1] + right[at] + right[at + 2 :]


KINDS: dict[str, Callable[[random.Random], Wanted]] = {
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


async def run(count: int) -> None:
    """Measure with servers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        mongo = MongoServer(Path(folder, "mongo"))
        await mongo.start()
        try:
            async with database(mongo.url_for("items"), timeout=120) as db:
                await fill(db.items, count)
                await ItemStore(db, None).prepare()  # type: ignore[arg-type]  # nothing is published
                catalogue = CatalogueStore(db)
                await catalogue.prepare()
                # 1 MB of profile, as it is by default, would lose some.
                await db.create_collection("system.profile", capped=True, size=16 * 2**20)
                await measure_all(catalogue, db)
        finally:
            await mongo.stop()


async def measure_all(catalogue: CatalogueStore, db: Database) -> None:
    """Print all figures."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, wanted in KINDS.items():
        await measure(name, wanted, catalogue, db)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory of the process: {more:.0f} MB more")
    stats = await db.command("collStats", "items")
    sizes = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in stats["indexSizes"].items())
    print(f"MB of data {stats['size'] / 2**20:.1f}, of indexes: {sizes}")


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS))
