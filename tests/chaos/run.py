"""One run: people at work, trouble, healing, quiet, and then the books."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.buying import Buyer
from tests.chaos.checker import check
from tests.chaos.end_state import Final, read_final
from tests.chaos.faults import Done, Trouble
from tests.chaos.history import History
from tests.chaos.market import Market, Seller
from tests.chaos.people import Person
from tests.chaos.plan import Fault, make_plan
from tests.chaos.quiescence import until_quiet
from tests.chaos.second_opinion import second_opinion
from tests.chaos.violation import Violation
from tests.chaos.world import World
from tests.support.waiting import eventually

SELLERS = 3
CALM = 240.0
"""Seconds within which the orders before the trouble must have come."""

DOORS = 3
"""How many sign up at a time: a password costs a tenth of a second of a core."""

BUYER_PAUSE = 0.4
SELLER_PAUSE = 1.6
"""Seconds between what one person does and the next, at most."""


@dataclass
class Run:
    """What is done in a run, and what came of it."""

    seed: int
    seconds: float
    buyers: int
    hold_seconds: int
    quiet_limit: float = 150
    """Seconds, from the healing on, within which everything must have come to rest."""
    plan: Sequence[Fault] | None = None
    """The seed's own plan, if there is none."""
    calm_orders: int = 0
    """Trouble begins once people have so many orders."""
    least_orders: int = 0
    """On a slow machine, trade goes on until people have so many."""
    offers: Sequence[int] = (3, 8, 20, 40)
    """How many units sellers offer."""
    second_opinion: bool = True
    """Whether audit is asked, too: it sees all people of a world, not only those of this run."""
    history: History = field(default_factory=History)
    done: list[Done] = field(default_factory=list)
    """The faults that have happened."""
    final: Final = field(default_factory=Final)
    violations: list[Violation] = field(default_factory=list)
    seconds_to_quiet: float = 0.0

    async def happen(self, world: World, say: Callable[[str], None] = lambda _: None) -> None:
        """Let everything happen in a world that runs; `say` hears where it is."""
        async with contextlib.AsyncExitStack() as exits:
            say("signing up")
            persons = await self._people(world, exits)
            trouble = await exits.enter_async_context(Trouble.brewing(world, self.history, self.seed, self.done))
            say("trading")
            await self._trade(persons, trouble)
            say("healing")
            await trouble.heal()
        say("waiting until quiet")
        healed = time.monotonic()
        restless = await until_quiet(world, self.history.people, self.quiet_limit)
        self.seconds_to_quiet = time.monotonic() - healed
        say("checking")
        self.final = await read_final(world, self.history.people, self.history.began, restless)
        self.violations = check(self.history, self.final, trouble.unreadable)
        if self.second_opinion:
            self.violations += await second_opinion(world)

    async def _people(self, world: World, exits: contextlib.AsyncExitStack) -> list[Person]:
        persons = []
        for number in range(self.buyers + SELLERS):
            persons.append(Person(world.front, self.history, f"P{number}", random.Random(f"{self.seed}/{number}")))
            exits.push_async_callback(persons[-1].leave)
        async with asyncio.TaskGroup() as group:
            for door in range(DOORS):
                group.create_task(_sign_up(persons[door::DOORS]))
        return persons

    async def _trade(self, persons: Sequence[Person], trouble: Trouble) -> None:
        market = Market(self.hold_seconds, self.offers)
        self.history.began = time.time()
        until = time.monotonic() + self.seconds

        def over() -> bool:
            return time.monotonic() >= until and self.history.orders >= self.least_orders and striking.done()

        async with asyncio.TaskGroup() as group:
            striking = group.create_task(self._strike(trouble))
            for person in persons[:SELLERS]:
                group.create_task(_live(Seller(person, market), SELLER_PAUSE, over))
            for person in persons[SELLERS:]:
                group.create_task(_live(Buyer(person, market), BUYER_PAUSE, over))

    async def _strike(self, trouble: Trouble) -> None:
        await eventually(self._calm_is_over, seconds=CALM, why=f"{self.calm_orders} orders")
        await trouble.strike(make_plan(self.seed, self.seconds) if self.plan is None else self.plan)

    async def _calm_is_over(self) -> bool:
        return self.history.orders >= self.calm_orders


async def _sign_up(persons: Sequence[Person]) -> None:
    for person in persons:
        await person.sign_up()


async def _live(one: Buyer | Seller, pause: float, over: Callable[[], bool]) -> None:
    while not over():
        await one.act()
        await asyncio.sleep(one.person.chance.uniform(0, pause))
