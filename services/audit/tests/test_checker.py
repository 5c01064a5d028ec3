"""The whole check: records that are read over a real bus, a log in a real MongoDB, and time in between."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from nats.js.api import AckPolicy, ConsumerConfig

from audit.dead_letters.domain import DeadLetter
from audit.event_log.domain import Entry
from audit.reconciliation import schedule
from audit.reconciliation.checker import Checker
from audit.reconciliation.findings import Money, Report, Rule
from audit.reconciliation.store import ReportStore
from common.bus.connection import Bus, BusError
from common.bus.envelope import Envelope
from common.bus.message import Message
from common.clock import now
from common.errors import NotFound, Unavailable
from common.events import (
    Event,
    HoldElapsed,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    TicketAdmitted,
    TicketsIssued,
    TicketsRevoked,
)
from common.ids import new_id
from common.mongo.client import Database
from common.records import Record, Records, RecordsQuery
from tests.support.bus import Events
from tests.support.waiting import eventually

from .conftest import World

KINDS = (
    "orders.orders",
    "orders.stock",
    "items.items",
    "payments.payments",
    "payments.charges",
    "expiration.deadlines",
    "tickets.bookings",
)


class ChargesUnlisted(NotFound):
    code = "charges_unlisted"


@dataclass
class Market:
    """The records of all services, and the log."""

    db: Database
    bus: Bus
    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    lists_charges: bool = True
    sequence: int = 0

    def services(self) -> list[Records]:
        """The records of the other services."""
        made: dict[str, Records] = {}
        for kind in KINDS:
            service, _, name = kind.partition(".")
            made.setdefault(service, Records(service)).on(name)(self._reader(kind))
        return list(made.values())

    def _reader(self, kind: str) -> Any:
        async def show(query: RecordsQuery) -> list[Record]:
            if kind == "payments.charges" and not self.lists_charges:
                raise ChargesUnlisted("not here")
            known = self.rows[kind]
            chosen = sorted(key for key in known if key > query.after and (query.ids is None or key in query.ids))
            return [{"id": key, **known[key]} for key in chosen[: query.limit]]

        return show

    async def publish(self, event: Event) -> None:
        """Put the event into the log."""
        self.sequence += 1
        body = event.model_dump_json().encode()
        headers = Envelope.of(event).headers("test")
        message = Message(event.stream, self.sequence, event.subject, now(), headers, body)
        await self.db.events.insert_one(Entry.of(message).to_document())

    def hold(self) -> OrderPlaced:
        """An order in the records of orders and of expiration, but not in the log yet."""
        placed: OrderPlaced = World.placed(World.item(), expires_at=now() + timedelta(minutes=15))
        row = placed.model_dump(include={"item_id", "quantity", "unit_price", "currency", "expires_at"})
        self.rows["orders.orders"][placed.order_id] = {**row, "status": "awaiting_payment", "version": 1}
        self.rows["expiration.deadlines"][placed.order_id] = {"due": round(placed.expires_at.timestamp() * 1000)}
        return placed

    async def check(self, grace: float = 1.0) -> Report:
        """The report of a check."""
        return await Checker(self.bus, self.db, grace).check()


@pytest_asyncio.fixture
async def market(bus_url: str, db: Database) -> AsyncIterator[Market]:
    """Services whose records can be read, and a log."""
    async with Bus.connected(bus_url, "audit") as bus:
        market = Market(db, bus)
        [expiration, items, orders, payments, tickets] = sorted(market.services(), key=lambda records: records.service)
        async with (
            expiration.answering(bus, []),
            items.answering(bus, []),
            orders.answering(bus, []),
            payments.answering(bus, []),
            tickets.answering(bus, []),
        ):
            yield market


async def test_consistent_records_have_no_violations(market: Market) -> None:
    for _ in range(3):
        await market.publish(market.hold())

    report = await market.check(grace=30)

    assert report.ok
    assert report.counts["orders"] == 3
    assert report.seconds < report.grace  # nothing was suspect, so nothing was waited for


async def test_what_is_on_its_way_is_waited_for(market: Market) -> None:
    placed = market.hold()
    telling: list[asyncio.Task[None]] = []

    def arrive_late(section: str, _rows: int) -> None:
        if section == "orders":
            telling.append(asyncio.create_task(market.publish(placed)))

    report = await Checker(market.bus, market.db, grace=20).check(arrive_late)

    assert report.ok
    assert report.lag.cleared == 1
    assert report.seconds < report.grace
    await asyncio.gather(*telling)


async def test_what_never_comes_is_a_violation(market: Market) -> None:
    placed = market.hold()

    report = await market.check(grace=0.3)

    [lost] = report.violations
    assert (lost.rule, lost.subject) == (Rule.EVENTS_KEPT, {"order": placed.order_id})
    assert report.totals[Rule.EVENTS_KEPT] == 1


async def test_what_the_last_report_names_is_not_waited_for_again(market: Market) -> None:
    market.hold()
    known = await market.check(grace=0.3)

    report = await Checker(market.bus, market.db, grace=30).check(known=known)

    assert [v.key for v in report.violations] == [v.key for v in known.violations]
    assert report.seconds < report.grace

    placed = market.hold()
    two = await Checker(market.bus, market.db, grace=0.3).check(known=known)
    assert {"order": placed.order_id} in [v.subject for v in two.violations]
    assert two.seconds >= two.grace  # one of them may still be on its way


async def test_a_paid_unit_without_a_ticket_is_a_violation(market: Market) -> None:
    placed = market.hold()
    paid = OrderPaid(**placed.model_dump() | {"order_version": 2, "payment_id": "p"})
    listed = World.item(item_id=placed.item_id, kind="event", starts_at=now())
    for event in (listed, placed, paid):
        await market.publish(event)
    market.rows["orders.orders"][placed.order_id] |= {"status": "paid", "version": 2, "payment_id": "p"}
    booking = {"version": 1, "sale": {"payment_id": "p"}, "tickets": [{"unit": n + 1} for n in range(placed.quantity)]}

    assert (await market.check()).totals[Rule.TICKETS_MATCH] == 1
    market.rows["tickets.bookings"][placed.order_id] = booking
    assert (await market.check()).totals[Rule.TICKETS_MATCH] == 0


async def test_an_order_that_is_missing_in_the_records_is_found(market: Market) -> None:
    kept, lost = market.hold(), market.hold()
    await market.publish(kept)
    await market.publish(lost)
    del market.rows["orders.orders"][lost.order_id]

    report = await market.check(grace=0.3)

    assert [(v.rule, v.subject) for v in report.violations] == [(Rule.BOOKS_AGREE, {"order": lost.order_id})]


async def test_a_busy_record_is_not_the_same_problem_twice(market: Market) -> None:
    placed = market.hold()
    await market.publish(placed)
    row = market.rows["orders.orders"][placed.order_id]
    row["rejected_payments"] = ["first"]
    checking = asyncio.create_task(market.check(grace=0.6))
    while not checking.done():
        row["rejected_payments"] = [new_id()]
        await asyncio.sleep(0)

    assert (await checking).ok


async def test_the_word_of_orders_about_a_payment_is_read_with_the_payment(market: Market) -> None:
    placed = market.hold()
    await market.publish(placed)
    order, told = market.rows["orders.orders"][placed.order_id], placed.model_dump()
    payment: dict[str, Any] = {"payment_id": "p", "order_id": placed.order_id, "buyer_id": placed.buyer_id}
    payment |= {"amount": 1400, "currency": "EUR"}
    market.rows["payments.payments"]["p"] = {**payment, "status": "captured", "version": 3}
    market.rows["payments.charges"]["p"] = {"amount": 1400, "currency": "EUR", "captured": True, "refunded": False}
    await market.publish(PaymentAuthorized.model_validate({**payment, "payment_version": 1}))
    await market.publish(PaymentCaptured.model_validate({**payment, "payment_version": 3}))
    await market.publish(OrderPaid.model_validate({**told, "order_version": 3, "payment_id": "p"}))
    order |= {"status": "paid", "payment_id": "p", "version": 3}
    [unasked] = (await market.check(grace=0.3)).violations
    assert (unasked.rule, unasked.subject["payment"]) == (Rule.CHARGES_END, "p")

    await market.publish(OrderPaymentAccepted.model_validate({**told, "order_version": 2, "payment_id": "p"}))
    assert (await market.check()).ok


async def test_tickets_are_read_and_compared_with_what_was_published_about_them(market: Market) -> None:
    order_id, item_id = new_id(), new_id()
    sale = {"order_id": order_id, "item_id": item_id, "buyer_id": "b", "seller_id": "s", "quantity": 1}
    where: dict[str, Any] = {"ticket_id": f"{order_id}-1", "order_id": order_id, "item_id": item_id, "holder_id": "b"}
    where |= {"generation": 1, "gate_id": "g", "gate": "North", "at": now()}
    ticket = {"unit": 1, "generation": 1, "admissions": [{"gate_id": "g", "device": "d", "seq": 1}], "strays": []}
    booking = {"version": 3, "sale": {"payment_id": "p"}, "returned": ["p"], "tickets": [ticket]}
    market.rows["tickets.bookings"][order_id] = booking
    await market.publish(TicketsIssued.model_validate({**sale, "tickets_version": 1}))
    await market.publish(TicketAdmitted.model_validate({**where, "tickets_version": 2}))
    await market.publish(TicketsRevoked.model_validate({**sale, "tickets_version": 3}))
    right = await market.check()
    assert right.ok
    assert right.counts["tickets"] == 1

    booking["version"] = 4
    await market.publish(TicketAdmitted.model_validate({**where, "tickets_version": 4, "gate": "South"}))
    await market.publish(TicketsIssued.model_validate({**sale, "order_id": "nobody", "tickets_version": 1}))

    report = await market.check(grace=0.3)
    found = {(v.rule, v.subject.get("ticket", v.subject["order"])) for v in report.violations}
    assert (Rule.ADMITTED_ONCE, f"{order_id}-1") in found
    assert (Rule.BOOKS_AGREE, "nobody") in found  # Its tickets were issued, and are not there.
    assert "one admission" in [v.expected for v in report.violations]


async def test_money_is_counted_by_currency(market: Market) -> None:
    payment = {"order_id": "o", "amount": 700, "currency": "EUR", "status": "refunded", "version": 4}
    market.rows["payments.payments"]["p"] = payment
    market.rows["payments.charges"]["p"] = {"amount": 700, "currency": "EUR", "captured": True, "refunded": True}
    market.rows["payments.charges"]["stray"] = {"amount": 9, "currency": "JPY", "captured": True, "refunded": False}

    report = await market.check(grace=0.3)

    assert report.balances == {"EUR": Money(charged=700, refunded=700), "JPY": Money(charged=9)}
    assert [v.subject for v in report.violations if v.rule is Rule.CHARGES_END] == [{"payment": "stray"}]


async def test_a_gateway_that_lists_nothing_is_not_asked_twice(market: Market) -> None:
    market.lists_charges = False
    payment = {"order_id": "o", "amount": 700, "currency": "EUR", "status": "refunded", "version": 4}
    market.rows["payments.payments"]["p"] = payment

    report = await market.check(grace=0.3)

    assert report.balances == {"EUR": Money(charged=700, refunded=700)}
    assert {v.rule for v in report.violations} == {Rule.EVENTS_KEPT}  # no event was published about that refund


async def test_a_message_that_nobody_handles_is_found(market: Market, events: Events) -> None:
    config = ConsumerConfig(durable_name="orders-sleeps", ack_policy=AckPolicy.EXPLICIT)
    await events.js.add_consumer("EXPIRATION", config)
    await events.js.publish(HoldElapsed.subject, HoldElapsed(order_id="o").model_dump_json().encode())

    report = await market.check(grace=0.3)

    [waiting] = report.violations
    assert (waiting.rule, waiting.subject) == (Rule.EVERYTHING_READ, {"consumer": "orders-sleeps"})
    assert waiting.expected == "message 1 of EXPIRATION handled"
    assert report.lag.messages == 1


async def test_a_dead_letter_is_found_until_it_is_settled(market: Market) -> None:
    headers = {"Nats-Msg-Id": "letter", "Souk-Subject": "orders.paid", "Souk-Error": "it broke"}
    letter = DeadLetter.of(Message("DEAD_LETTERS", 1, "dead_letters.orders.finish", now(), headers, b"{}"))
    await market.db.letters.insert_one({"_id": letter.id, **letter.to_document()})
    [found] = (await market.check(grace=0.3)).violations
    assert (found.rule, found.subject) == (Rule.LETTERS_SETTLED, {"letter": "letter"})

    await market.db.letters.update_one({"_id": "letter"}, {"$set": {"state": "discarded"}})
    assert (await market.check()).ok


async def test_without_an_answer_there_is_no_report(bus_url: str, db: Database) -> None:
    async with Bus.connected(bus_url, "audit") as bus:
        with pytest.raises(Unavailable, match=r"nobody answers on books\.items\.items"):
            await Checker(bus, db, 1).check()


@pytest.mark.parametrize(("seconds", "level"), [(60.0, "INFO"), (0.0, "WARNING")], ids=["at the start", "later"])
async def test_services_that_are_not_up_yet_are_a_warning_only_later(
    seconds: float,
    level: str,
    bus_url: str,
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(schedule, "STARTUP_SECONDS", seconds)
    caplog.set_level("INFO", logger=schedule.log.name)

    async def logged() -> list[str]:
        return [record.levelname for record in caplog.records if "nobody answers" in record.getMessage()]

    async with (
        Bus.connected(bus_url, "audit") as bus,
        schedule.Schedule(Checker(bus, db, 1), ReportStore(db), 1, 3600).running(),
    ):
        assert set(await eventually(logged)) == {level}


async def test_a_bus_that_hangs_in_the_middle_of_a_check_is_a_warning(
    market: Market, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent() -> None:
        raise BusError("it hangs")

    monkeypatch.setattr(market.bus, "consumer_lags", silent)
    monkeypatch.setattr(schedule, "STARTUP_SECONDS", 0.0)

    async def logged() -> list[str]:
        return [record.levelname for record in caplog.records if record.name == schedule.log.name]

    async with schedule.Schedule(Checker(market.bus, market.db, 1), ReportStore(market.db), 1, 3600).running():
        assert set(await eventually(logged)) == {"WARNING"}


async def test_replicas_take_turns_and_a_violation_keeps_its_age(db: Database, market: Market) -> None:
    one, other = ReportStore(db), ReportStore(db)
    minute = timedelta(minutes=1)
    turns = await asyncio.gather(*(store.take_turn(now(), minute) for store in (one, other)))
    assert sorted(turns) == [False, True]
    assert await other.take_turn(now() + minute, minute)

    market.hold()
    first = await market.check(grace=0.3)
    await one.keep(first)
    await other.keep(await market.check(grace=0.3))
    newest = await one.newest()
    assert newest is not None
    assert newest.checked_at > first.checked_at
    assert [v.since for v in newest.violations] == [first.checked_at]


async def test_operators_see_the_newest_report(audit: World) -> None:
    path, headers = "/api/audit/reconciliation", audit.tokens.headers(audit.operator)
    answer = await audit.http.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_checked")

    totals = dict.fromkeys(Rule, 0)
    report = Report(checked_at=now(), seconds=1, grace=2, counts={}, totals=totals, violations=[], balances={}, lag={})
    await ReportStore(audit.db).keep(report)
    assert Report.model_validate((await audit.http.get(path, headers=headers)).json()) == report
    assert (await audit.http.get(path)).status_code == 401
