"""One run: people trade under faults, all faults are healed, and the checker looks at what is left."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.availability import available
from tests.chaos.buying import Buyer
from tests.chaos.checker import check
from tests.chaos.doors import Doorkeeper
from tests.chaos.end_state import EndState, read_end_state
from tests.chaos.faults import FaultResult, Faults
from tests.chaos.history import History
from tests.chaos.market import Market, Seller
from tests.chaos.office import Operator, grant
from tests.chaos.people import Person
from tests.chaos.plan import CLOCK_STEPS, REPLICAS, Fault, make_plan
from tests.chaos.quiescence import until_quiet
from tests.chaos.reconciliation import audit_violations
from tests.chaos.violation import Violation
from tests.chaos.world import World
from tests.support.waiting import eventually

SELLERS = 3
CALM = 240.0
"""Seconds within which the orders before the first fault must have been placed."""

SIGN_UPS = 3
"""Sign-ups at a time: hashing a password takes a tenth of a second of a core."""

Actor = Buyer | Seller | Operator | Doorkeeper

PAUSES: Mapping[type[Actor], float] = {Buyer: 0.4, Seller: 1.6, Operator: 1.6, Doorkeeper: 0.6}
"""Longest pause of a person between two actions, in seconds."""


@dataclass
class Run:
    """The parameters of a run and its results."""

    seed: int
    seconds: float
    buyers: int
    hold_seconds: int
    hold_limit: int = 10
    """Units of one item that one buyer may hold in this world."""
    quiet_limit: float = 150
    """Seconds after the healing within which everything must have settled."""
    plan: Sequence[Fault] | None = None
    """None stands for the plan of the seed."""
    calm_orders: int = 0
    """The first fault comes once people have placed so many orders."""
    least_orders: int = 0
    """On a slow machine, trade goes on until people have placed so many."""
    offers: Sequence[int] = (3, 8, 20, 40)
    """Quantities that sellers offer."""
    ask_audit: bool = True
    """Whether audit checks, too. It sees all people of a world, not only those of this run."""
    history: History = field(default_factory=History)
    faults: list[FaultResult] = field(default_factory=list)
    end: EndState = field(default_factory=EndState)
    violations: list[Violation] = field(default_factory=list)
    seconds_to_quiet: float = 0.0
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Kinds of faults that are not possible on this machine, and why."""

    async def execute(self, world: World, step: Callable[[str], None] = lambda _: None) -> None:
        """Execute the run in a running world. `step` is called with the name of each step."""
        async with contextlib.AsyncExitStack() as exits:
            step("signing up")
            persons = await self._people(world, exits)
            operator = Operator(persons.pop(), world.provider_url, parts=world.hears_of_parts)
            await grant(world, operator.person)
            faults = await exits.enter_async_context(Faults.connected(world, self.history, self.seed, self.faults))
            step("trading")
            market = Market(self.hold_seconds, self.offers, crowd=persons[SELLERS:])
            sellers = [Seller(person, market) for person in persons[:SELLERS]]
            doorkeeper = Doorkeeper(self._person(world, "Doors", exits), market.doors)
            buyers = [Buyer(person, market) for person in persons[SELLERS:]]
            await self._trade([operator, doorkeeper, *sellers, *buyers], faults)
            step("healing")
            await faults.heal()
            step("counting at the doors")
            await doorkeeper.finish()
            await asyncio.gather(*(seller.look_at_doors() for seller in sellers))
        step("waiting until quiet")
        healed = time.monotonic()
        unsettled = await until_quiet(world, self.history.people, self.quiet_limit)
        self.seconds_to_quiet = time.monotonic() - healed
        step("checking")
        self.end = await read_end_state(world, self.history.people, self.history.began, unsettled)
        self.end.hold_limit = self.hold_limit
        self.left_out = world.left_out
        self.end.clocks_off = max((abs(CLOCK_STEPS.get(one.fault.kind, 0.0)) for one in self.faults), default=0.0)
        self.violations = check(self.history, self.end, faults.unreadable)
        if len(self.faults) == 1 and self.faults[0].happened:
            self.violations += available(self.history, _floor_from(self.faults[0]))
        if self.ask_audit:
            self.violations += await audit_violations(world)

    async def _people(self, world: World, exits: contextlib.AsyncExitStack) -> list[Person]:
        persons = [self._person(world, f"P{number}", exits) for number in range(self.buyers + SELLERS + 1)]
        async with asyncio.TaskGroup() as group:
            for first in range(SIGN_UPS):
                group.create_task(_sign_up(persons[first::SIGN_UPS]))
        return persons

    def _person(self, world: World, name: str, exits: contextlib.AsyncExitStack) -> Person:
        person = Person(world.front, self.history, name, random.Random(f"{self.seed}/{name.removeprefix('P')}"))
        exits.push_async_callback(person.leave)
        return person

    async def _trade(self, actors: Sequence[Actor], faults: Faults) -> None:
        self.history.began = time.time()
        until = time.monotonic() + self.seconds

        def over() -> bool:
            return time.monotonic() >= until and self.history.orders >= self.least_orders and causing.done()

        async with asyncio.TaskGroup() as group:
            causing = group.create_task(self._cause_faults(faults))
            for one in actors:
                group.create_task(_live(one, over))

    async def _cause_faults(self, faults: Faults) -> None:
        await eventually(self._calm_is_over, seconds=CALM, why=f"{self.calm_orders} orders")
        await faults.cause_all(
            make_plan(self.seed, self.seconds, faults.world.kinds) if self.plan is None else self.plan
        )

    async def _calm_is_over(self) -> bool:
        return self.history.orders >= self.calm_orders


def _floor_from(fault: FaultResult) -> float:
    """A replica that is killed or hangs costs answers until the gateway notices, other faults until they end."""
    of_a_replica = fault.fault.kind in {"kill service", "pause"} and fault.fault.target in REPLICAS
    return fault.began if of_a_replica else fault.ended


async def _sign_up(persons: Sequence[Person]) -> None:
    for person in persons:
        await person.sign_up()


async def _live(one: Actor, over: Callable[[], bool]) -> None:
    while not over():
        await one.act()
        await asyncio.sleep(one.person.chance.uniform(0, PAUSES[type(one)]))
