"""Slows down password guessing and mass sign-ups, without locking out anybody else."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pymongo import ReturnDocument, WriteConcern

from common.errors import TooMany
from common.http.network import network_of
from common.mongo.client import Collection, Database, Document

MINUTE = 60
HOUR = 3_600

SLOWER_AFTER = 20
"""Failures an hour with one account, from wherever, after which each further try with it takes longer."""

MAILS_PER_ADDRESS = 5
"""Mails with a link that one address gets in an hour, whoever asks for them."""

LONGEST_DELAY = 5.0
"""Seconds that a try with such an account waits at most: its owner gets in, from anywhere."""


@dataclass(frozen=True)
class Window:
    """At most `most` hits within `seconds`, for one key."""

    name: str
    most: int
    seconds: int

    def interval(self) -> int:
        """The number of the interval that it is now."""
        return int(time.time() // self.seconds)

    def seconds_until_room(self) -> int:
        """Seconds until a window that has as many hits as it may has one less."""
        return math.ceil(self.seconds - time.time() % self.seconds + self.seconds / self.most)

    def count(self, document: Document | None) -> int:
        """The hits that this document of a key has in the window that ends now, rounded up."""
        now = time.time() / self.seconds
        match document:
            case {"interval": interval, "count": int(count), "before": int(before)} if interval == int(now):
                return math.ceil(count + before * (1 - now % 1))
            case {"interval": interval, "count": int(count)} if interval == int(now) - 1:
                return math.ceil(count * (1 - now % 1))
            case _:
                return 0


class Throttle:
    """Sliding windows, the same ones for all replicas: they are documents of auth's database.

    A window counts the hits of its interval, and those of the interval before it by the part that still overlaps. An
    IPv4 /24 or an IPv6 /64 counts as one client.
    """

    def __init__(
        self,
        db: Database,
        *,
        failures_per_account: int,
        failures_per_network: int,
        signups_per_network: int,
        mails_per_network: int,
    ) -> None:
        # w=1: a hit that a failover takes back lets somebody try once more.
        self._windows: Collection = db.throttle.with_options(write_concern=WriteConcern(w=1))
        self._account = Window("account", failures_per_account, MINUTE)
        self._network = Window("network", failures_per_network, MINUTE)
        self._everywhere = Window("everywhere", SLOWER_AFTER, HOUR)
        self._signups = Window("signup", signups_per_network, MINUTE)
        self._mails = Window("mail", mails_per_network, MINUTE)
        self._mailed = Window("mailed", MAILS_PER_ADDRESS, HOUR)

    async def prepare(self) -> None:
        """Make the index that removes old windows."""
        await self._windows.create_index("until", name="until", expireAfterSeconds=0)

    @asynccontextmanager
    async def guess(self, address: str, email: str) -> AsyncIterator["Guess"]:
        """A try with a password, which is wrong unless it is said to be `Guess.right`.

        Raises `TooMany` when this network has failed too often, with this account or with all together: before the try,
        and after it when those that ran beside it have used up the window. When an account has had many failures from
        everywhere, a try with it waits first.
        """
        network = network_of(address)
        limits = [Key(self._account, f"{network} {email}"), Key(self._network, network)]
        everywhere = Key(self._everywhere, email)
        *counts, failures = await self._counts(*limits, everywhere)
        _check(limits, counts, most_are_too_many=True)
        await asyncio.sleep(min(LONGEST_DELAY, max(0.0, (failures - SLOWER_AFTER) / 4)))
        made = Guess()
        yield made
        if made.right:  # A right guess among many at once is still one too many.
            _check(limits, await self._counts(*limits), most_are_too_many=True)
        else:
            *counts, _ = [await self._hit(key) for key in (*limits, everywhere)]
            _check(limits, counts)

    async def count_signup(self, address: str) -> None:
        """Somebody signs up from here. Raises `TooMany`."""
        key = Key(self._signups, network_of(address))
        _check([key], [await self._hit(key)])

    async def count_mail(self, address: str, email: str) -> bool:
        """Somebody asks from here for a mail to `email`. Return whether it gets any more. Raises `TooMany`."""
        key, mailed = Key(self._mails, network_of(address)), Key(self._mailed, email)
        _check([key], [await self._hit(key)])
        return await self._hit(mailed) <= self._mailed.most

    async def _counts(self, *keys: "Key") -> list[int]:
        """The hits in the window of each key."""
        found = await self._windows.find({"_id": {"$in": [key.id for key in keys]}}).to_list()
        documents = {document["_id"]: document for document in found}
        return [key.window.count(documents.get(key.id)) for key in keys]

    async def _hit(self, key: "Key") -> int:
        """Count a hit. Return the hits in its window, this one too."""
        interval = key.window.interval()
        same, next_one = {"$eq": ["$interval", interval]}, {"$eq": ["$interval", interval - 1]}
        counted = {
            "interval": interval,
            "count": {"$cond": [same, {"$add": ["$count", 1]}, 1]},
            "before": {"$cond": [same, "$before", {"$cond": [next_one, "$count", 0]}]},
            "until": datetime.fromtimestamp((interval + 2) * key.window.seconds, UTC),
        }
        document = await self._windows.find_one_and_update(
            {"_id": key.id}, [{"$set": counted}], upsert=True, return_document=ReturnDocument.AFTER
        )
        return key.window.count(document)


@dataclass
class Guess:
    """Whether the password was right."""

    right: bool = False


@dataclass(frozen=True)
class Key:
    """What is counted in a window."""

    window: Window
    value: str

    @property
    def id(self) -> str:
        """The id of its document."""
        return f"{self.window.name} {self.value}"


def _check(keys: Sequence[Key], counts: Sequence[int], *, most_are_too_many: bool = False) -> None:
    """Raise `TooMany` if a key has more hits than it may have, or as many if one more would be `too many`."""
    for key, count in zip(keys, counts, strict=True):
        if count > key.window.most or (most_are_too_many and count >= key.window.most):
            seconds = key.window.seconds_until_room()
            raise TooMany(f"too many tries; try again in {seconds} s", seconds)
