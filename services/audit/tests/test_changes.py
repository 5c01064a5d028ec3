"""A check of what has changed finds what a check of everything finds, and reads what has changed."""

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from nats.js.api import AckPolicy, ConsumerConfig

from audit.reconciliation import checker
from audit.reconciliation.checker import Checker
from audit.reconciliation.findings import Checkpoint, Report, Rule
from audit.reconciliation.log_reader import LogReader
from audit.reconciliation.schedule import Schedule
from audit.reconciliation.store import ReportStore
from common.bus.connection import Bus
from common.clock import now
from common.events import HoldElapsed, ItemKind, OrderCancelled, StockChanged
from common.ids import new_id
from common.mongo.client import Database
from tests.support.bus import Events
from tests.support.clock import Clock
from tests.support.waiting import eventually

from .shop import Shop, milliseconds

Damage = Callable[[Shop], Awaitable[Any]]


@pytest_asyncio.fixture
async def shop(bus_url: str, db: Database) -> AsyncIterator[Shop]:
    """A shop that is open."""
    async with Bus.connected(bus_url, "audit") as bus:
        shop = Shop(db, bus)
        async with shop.open():
            yield shop


async def begun(shop: Shop) -> Checkpoint:
    """The checkpoint of a shop with some history, all of which was checked."""
    for kind in ("thing", "event"):
        item = await shop.list_item(kind)
        for _ in range(4):
            await shop.pay(await shop.place(item))
        await shop.refund(await shop.place_paid(item))
        await shop.place(item)
    report, checkpoint = await shop.check()
    assert report.ok, report.violations
    assert report.whole
    assert checkpoint
    return checkpoint


async def agreed(shop: Shop, checkpoint: Checkpoint) -> tuple[Report, Checkpoint]:
    """The report of what has changed, which names what one of everything names, and the next checkpoint."""
    report, following = await shop.check(checkpoint)
    whole, _ = await shop.check()
    assert not report.whole
    assert {violation.key for violation in report.violations} == {violation.key for violation in whole.violations}
    assert report.totals == whole.totals
    assert following
    return report, following


class NothingThere(Exception):
    """The shop has no such document."""


async def some(shop: Shop, kind: str, **wanted: Any) -> Any:
    """Any document of the shop."""
    if not (found := await shop.db[kind].find(wanted).sort("_id", 1).to_list()):
        raise NothingThere(kind)
    return shop.random.choice(found)


def change(kind: str, update: dict[str, Any], **wanted: Any) -> Damage:
    """Damage one document of a kind behind the back of its service."""

    async def damage(shop: Shop) -> None:
        document = await some(shop, kind, **wanted)
        await shop.db[kind].update_one({"_id": document["_id"]}, update)

    return damage


async def forget_to_publish(shop: Shop) -> None:
    await shop.place((await some(shop, "items"))["_id"], published=False)


async def sneak_in_an_order(shop: Shop) -> None:
    order = await some(shop, "orders", status="paid")
    sneaked = new_id()
    await shop.db.orders.insert_one({**order, "_id": sneaked, "payment_id": None, "status": "awaiting_payment"})
    shop.events[sneaked] = shop.events[order["_id"]]


async def contradict(shop: Shop) -> None:
    item = (await some(shop, "items"))["_id"]
    await shop.publish(StockChanged(item_id=item, stock_version=2, quantity=30, available=0))


async def publish_what_is_not_stored(shop: Shop) -> None:
    placed = shop.events[(await some(shop, "orders", status="awaiting_payment"))["_id"]][0].model_dump()
    await shop.publish(OrderCancelled.model_validate({**placed, "order_version": 2, "reason": "buyer"}))


async def publish_about_nobody(shop: Shop) -> None:
    placed = shop.events[(await some(shop, "orders"))["_id"]][0]
    await shop.publish(placed.model_copy(update={"order_id": new_id()}))


async def forget_a_deadline(shop: Shop) -> None:
    del shop.deadlines[(await some(shop, "orders", status="awaiting_payment"))["_id"]]


async def cancel_behind_its_tickets(shop: Shop) -> None:
    booking = await some(shop, "bookings", returned=[])
    await shop.db.orders.update_one({"_id": booking["_id"]}, {"$set": {"status": "cancelled"}})


async def dead_letter(shop: Shop) -> None:
    letter = {"_id": new_id(), "state": "open", "service": "orders", "subject": "orders.paid", "error": "it broke"}
    await shop.db.letters.insert_one({**letter, "sequence": 1})


SCAN = {"gate_id": "g", "device": "d", "seq": 1}
PAST = now() - timedelta(hours=1)

DAMAGES: list[tuple[Rule, Damage]] = [
    (Rule.UNITS_ADD_UP, change("stock", {"$inc": {"taken": 1}})),
    (Rule.UNITS_ADD_UP, change("orders", {"$inc": {"quantity": 1}}, status="paid")),
    (Rule.UNITS_ADD_UP, change("orders", {"$set": {"item_id": "another"}}, status="paid")),
    (Rule.UNITS_ADD_UP, sneak_in_an_order),
    (Rule.SOLD_ONCE, change("orders", {"$set": {"quantity": 99}}, status="paid")),
    (Rule.CHARGES_END, change("charges", {"$set": {"refunded": True}}, refunded=False)),
    (Rule.CHARGES_END, change("payments", {"$set": {"status": "failed"}}, status="captured")),
    (Rule.CHARGES_END, change("orders", {"$set": {"payment_id": "another"}}, status="paid")),
    (Rule.CHARGES_END, change("payments", {"$set": {"order_id": "another"}}, status="captured")),
    (Rule.ORDERS_END, change("orders", {"$set": {"expires_at": PAST}}, status="awaiting_payment")),
    (Rule.ORDERS_END, forget_a_deadline),
    (Rule.EVENTS_KEPT, forget_to_publish),
    (Rule.EVENTS_KEPT, change("stock", {"$inc": {"version": 1}})),
    (Rule.EVENTS_AGREE, contradict),
    (Rule.BOOKS_AGREE, publish_what_is_not_stored),
    (Rule.BOOKS_AGREE, publish_about_nobody),
    (Rule.BOOKS_AGREE, change("payments", {"$set": {"status": "authorized"}}, status="captured")),
    (Rule.COPIES_AGREE, change("items", {"$inc": {"available": 1}})),
    (Rule.COPIES_AGREE, change("stock", {"$set": {"status": "withdrawn"}})),
    (Rule.TICKETS_MATCH, change("bookings", {"$set": {"tickets": []}}, returned=[])),
    (Rule.TICKETS_MATCH, cancel_behind_its_tickets),
    (Rule.ADMITTED_ONCE, change("bookings", {"$set": {"tickets.0.strays": [SCAN, SCAN]}}, returned=[])),
    (Rule.LETTERS_SETTLED, dead_letter),
    (Rule.MONEY_BALANCES, change("charges", {"$inc": {"amount": 1}}, refunded=False)),
]


@pytest.mark.parametrize(("rule", "damage"), DAMAGES)
async def test_what_breaks_a_rule_in_what_has_changed_is_found(shop: Shop, rule: Rule, damage: Damage) -> None:
    checkpoint = await begun(shop)
    await damage(shop)

    report, following = await agreed(shop, checkpoint)

    assert report.totals[rule]
    report, _ = await agreed(shop, following)
    assert report.totals[rule], "it is named until it is right"


def test_every_rule_is_broken() -> None:
    assert {rule for rule, _ in DAMAGES} == set(Rule) - {Rule.EVERYTHING_READ}


async def test_a_message_that_nobody_handles_is_found(shop: Shop, events: Events) -> None:
    checkpoint = await begun(shop)
    await events.js.add_consumer(
        "EXPIRATION", ConsumerConfig(durable_name="orders-sleeps", ack_policy=AckPolicy.EXPLICIT)
    )
    await events.js.publish(HoldElapsed.subject, HoldElapsed(order_id="o").model_dump_json().encode())

    report, _ = await shop.check(checkpoint)

    assert [violation.rule for violation in report.violations] == [Rule.EVERYTHING_READ]


async def test_what_is_right_again_is_named_no_longer_also_if_no_database_tells_of_it(shop: Shop) -> None:
    checkpoint = await begun(shop)
    [(order, due)] = list(shop.deadlines.items())[-1:]
    del shop.deadlines[order]
    await change("stock", {"$inc": {"taken": 1}})(shop)
    report, checkpoint = await agreed(shop, checkpoint)
    assert {Rule.ORDERS_END, Rule.UNITS_ADD_UP} <= {violation.rule for violation in report.violations}

    shop.deadlines[order] = due
    await change("stock", {"$inc": {"taken": -1}})(shop)

    report, _ = await agreed(shop, checkpoint)
    assert report.ok


async def test_a_hold_that_nobody_ends_is_found_by_the_clock_alone(shop: Shop) -> None:
    item = await shop.list_item()
    order, ends = await shop.place(item), now().replace(microsecond=0) + timedelta(seconds=1)
    shop.deadlines[order] = milliseconds(ends)
    await shop.db.orders.update_one({"_id": order}, {"$set": {"expires_at": ends}})
    _, checkpoint = await shop.check()
    assert checkpoint

    async def over() -> bool:
        return now() > ends

    await eventually(over)

    report, _ = await agreed(shop, checkpoint)

    assert {"order": order} in [violation.subject for violation in report.violations]


async def test_a_payment_that_nobody_brings_to_an_end_is_found_by_the_clock_alone(shop: Shop) -> None:
    order, clock = await shop.place(await shop.list_item()), Clock(now())
    payment = {"_id": new_id(), "order_id": order, "amount": 700, "currency": "EUR", "status": "created", "version": 1}
    await shop.db.payments.insert_one({**payment, "check_at": clock.now + timedelta(minutes=1)})
    report, checkpoint = await shop.check()
    assert report.ok
    assert checkpoint

    clock.advance(timedelta(minutes=2))
    with clock.shown():
        report, _ = await agreed(shop, checkpoint)
    assert report.totals[Rule.CHARGES_END] == 1


async def test_an_item_that_turns_out_to_be_an_event_asks_for_the_tickets_of_its_old_orders(shop: Shop) -> None:
    item = await shop.list_item()
    await shop.pay(await shop.place(item))
    checkpoint = await begun(shop)
    [listed] = shop.events[item]
    told = listed.model_copy(update={"kind": ItemKind.EVENT, "starts_at": now(), "restated": True})

    await shop.publish(told)

    report, _ = await agreed(shop, checkpoint)
    assert report.totals[Rule.TICKETS_MATCH] == 1


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_both_checks_name_the_same(shop: Shop, seed: int) -> None:
    shop.random = Random(seed)  # noqa: S311 - not a secret
    _, checkpoint = await shop.check()
    for _ in range(6):
        for _ in range(shop.random.randint(0, 8)):
            await shop.step()
        with contextlib.suppress(NothingThere):
            _, damage = shop.random.choice(DAMAGES)
            await damage(shop)
        assert checkpoint
        _, checkpoint = await agreed(shop, checkpoint)


async def test_what_is_written_while_a_check_reads_is_found_by_the_next(shop: Shop) -> None:
    checkpoint = await begun(shop)
    spoil = change("items", {"$inc": {"available": 1}})
    spoiling: list[Any] = []

    async def spoiled(section: str) -> None:
        if section == "charges" and not spoiling:
            spoiling.append(section)
            await spoil(shop)

    await shop.place((await some(shop, "items"))["_id"])
    report, following = await Meddled(shop, spoiled).check_since(checkpoint)
    assert spoiling
    assert report.ok
    assert following

    report, _ = await agreed(shop, following)
    assert report.totals[Rule.COPIES_AGREE]


class Meddled(Checker):
    """A checker before each of whose sections something happens."""

    def __init__(self, shop: Shop, happens: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(shop.bus, shop.db, 0.04)
        for section in self._sections:
            section.scan = _before(section.name, section.scan, happens)  # type: ignore[method-assign]


def _before(name: str, scan: Any, happens: Callable[[str], Awaitable[None]]) -> Any:
    async def scanned(*only: Any) -> AsyncGenerator[Any, None]:
        await happens(name)
        async for outcome in scan(*only):
            yield outcome

    return scanned


@pytest.mark.parametrize("at", ["items", "orders", "letters"])
async def test_a_check_that_dies_and_is_made_again_loses_nothing(shop: Shop, at: str) -> None:
    reports = ReportStore(shop.db)
    await begun(shop)
    await reports.keep(*await shop.check())
    await change("items", {"$inc": {"available": 1}})(shop)

    async def die(section: str) -> None:
        if section == at:
            raise SystemExit("killed")

    with pytest.raises(SystemExit):
        await reports.keep(*await Meddled(shop, die).check_since(await reports.checkpoint()))

    checkpoint = await reports.checkpoint()
    assert checkpoint
    report, _ = await agreed(shop, checkpoint)
    assert report.totals[Rule.COPIES_AGREE]


async def test_where_nobody_can_tell_what_has_changed_everything_is_checked(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, checker.log.name)
    checkpoint = await begun(shop)
    others = {source: mark for source, mark in checkpoint.marks.items() if source != "orders"}
    for marks in (others, {**others, "orders": "82"}):
        report, _ = await shop.check(checkpoint.model_copy(update={"marks": marks}))
        assert report.whole
        assert "checking everything" in caplog.text
        caplog.clear()

    paid = await some(shop, "orders", status="paid")
    await shop.db.orders.delete_one({"_id": paid["_id"]})
    report, following = await shop.check(checkpoint)
    assert report.whole
    assert following
    report, _ = await agreed(shop, following)
    assert {"order": paid["_id"]} in [violation.subject for violation in report.violations]


async def test_while_charges_are_not_listed_everything_is_checked(shop: Shop) -> None:
    checkpoint = await begun(shop)
    shop.lists_charges = False

    report, following = await shop.check(checkpoint)

    assert report.whole
    assert following is None


async def test_a_service_of_an_older_release_has_everything_checked(bus_url: str, db: Database) -> None:
    async with Bus.connected(bus_url, "audit") as bus:
        shop = Shop(db, bus, changes_told=False)
        async with shop.open():
            report, checkpoint = await shop.check()
    assert report.ok
    assert checkpoint is None


@pytest.mark.parametrize("limit", ["MAX_SUSPECTS", "MAX_AGAIN"])
async def test_more_than_can_be_remembered_has_everything_checked_again(
    shop: Shop, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await forget_to_publish_any(shop)
    monkeypatch.setattr(checker, limit, 1)
    _, checkpoint = await shop.check()
    assert checkpoint is None


async def forget_to_publish_any(shop: Shop) -> None:
    await shop.place(await shop.list_item(), published=False)


async def test_everything_is_checked_at_first_then_what_has_changed_and_everything_again_when_it_is_time(
    shop: Shop,
) -> None:
    reports = AllReports(shop.db)
    await begun(shop)
    checking = Checker(shop.bus, shop.db, 0.04)

    async def next_one(wanted: Callable[[Report], bool]) -> Report:
        """The next report that is like that: a moment later it is not the newest any more."""

        async def found() -> Report | None:
            return next((report for report in reports.kept if wanted(report)), None)

        report = await eventually(found)
        assert report
        del reports.kept[: reports.kept.index(report) + 1]
        return report

    async with Schedule(checking, reports, 0.01, 3600).running():
        first = await next_one(lambda report: report.whole)
        later = await next_one(lambda report: not report.whole)
        assert later.whole_at == first.checked_at
        assert later.balances == first.balances
        await reports.ask(asked := now())
        await next_one(lambda report: report.whole and report.checked_at >= asked)
        await next_one(lambda report: not report.whole)
    newest = await reports.newest()
    assert newest
    assert await reports.checkpoint(newest.checked_at) is None, "that is too long ago"
    async with Schedule(checking, reports, 0.01, 3600).running():
        await next_one(lambda report: report.whole and report.checked_at > newest.checked_at)


class AllReports(ReportStore):
    """Remembers every report that was the newest."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.kept: list[Report] = []

    async def keep(self, report: Report, checkpoint: Checkpoint | None = None) -> None:
        await super().keep(report, checkpoint)
        if newest := await self.newest():
            self.kept.append(newest)


HISTORY = 60
"""Sales before, each with ten events. What is read about the next sale must not depend on it."""


async def test_the_cost_follows_what_has_changed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    events = count_entries(monkeypatch)
    checkpoint: Checkpoint | None = None
    costs: list[tuple[int, int]] = []
    for sales in (HISTORY, 0, 1, 2):
        for _ in range(sales):
            await shop.place_paid(await shop.list_item("event"))
        shop.read.clear()
        events.clear()
        report, checkpoint = await shop.check(checkpoint)
        assert report.ok
        assert report.whole == (sales == HISTORY)
        costs.append((shop.read.total(), len(events)))

    (all_records, all_events), nothing, one, two = costs
    assert nothing == (4, 0), "a mark of each service"
    records, entries = one[0] - nothing[0], one[1]
    assert two == (nothing[0] + 2 * records, 2 * entries)
    assert records <= 3 * all_records / HISTORY
    assert entries <= 3 * all_events / HISTORY


def count_entries(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Entries of the log that checks read."""
    read: list[None] = []

    def counted(name: str) -> None:
        reads = getattr(LogReader, name)

        async def each(self: LogReader, *about: Any) -> AsyncGenerator[Any, None]:
            async for entry in reads(self, *about):
                read.append(None)
                yield entry

        monkeypatch.setattr(LogReader, name, each)

    counted("each")
    counted("entries")
    return read
