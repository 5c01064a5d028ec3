"""No handler and no request is done because of a state that the majority does not have.

Each case writes once. Held back from the other members, the write is known to the primary alone: the first call fails,
and so must every repetition, although "that is done already" is what the primary says. docs/decisions/majority-reads.md
has the table of all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from audit.dead_letters.domain import DeadLetter, Retry
from audit.dead_letters.store import DeadLetterStore, RetryStore
from audit.event_log.domain import Entry
from audit.event_log.store import EventLog
from auth.domain import Account
from auth.passkeys.store import KeyringStore
from auth.store import AccountStore
from common.bus.connection import Bus
from common.bus.message import Message
from common.events import Currency, ItemListed, ItemStatus, OrderPaid, OrderPlaced, StockChanged
from common.ids import new_id
from common.mongo.client import AWAY, Client, Database
from common.outbox import Relay
from infra.servers.mongo_trio import MongoTrio
from items.domain import Item
from items.favourites.store import FavouriteStore
from items.store import ItemStore
from notifications.domain import Kind, Mail
from notifications.store import MailStore, PersonStore, SaleStore
from orders import store as orders_store
from orders.commands import PlaceOrder
from orders.desk import ReservationDesk
from orders.domain import Order
from orders.holds import HoldLimits
from orders.store import OrderStore
from payments.domain import Payment
from payments.due import Due
from payments.gateways.port import GatewayUnavailable
from payments.gateways.sandbox_store import SandboxLedger
from payments.store import DueStore, PaymentStore
from tests.support.fixtures import REPLICATED_TIMEOUT
from tickets.domain import Sale
from tickets.store import BookingStore, EventStore

pytestmark = pytest.mark.prove

Act = Callable[[], Awaitable[object]]
WRITE_TIMEOUT_MS = int(REPLICATED_TIMEOUT * 500)
"""How long the primary waits for the majority."""

REFUSED = (
    "auth: use a challenge",
    "items: keep a favourite",
    "notifications: remember an erased person",
    "payments: pay twice",
    "tickets: follow_event",
)

NOT_CONFIRMED = (*AWAY, GatewayUnavailable)


class Cases:
    """Makes the cases on a database with three members: each is an action that may be repeated."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._db = db
        self._relay = relay

    async def prepare(self) -> dict[str, Act]:
        """The cases by name."""
        parts = (self._items, self._orders, self._payments, self._tickets, self._notifications, self._others)
        return {name: act for part in parts for name, act in (await part()).items()}

    async def _items(self) -> dict[str, Act]:
        store = ItemStore(self._db, self._relay)
        await store.prepare()
        item = await store.add(offered())
        withdrawn = await store.add(offered())
        stock = StockChanged(item_id=item.id, stock_version=1, quantity=5, available=4)
        listing = offered(request_key="key", fingerprint="same")
        favourites = FavouriteStore(self._db)
        await favourites.prepare()
        return {
            "items: keep a favourite": lambda: favourites.keep("buyer", item.id, datetime.now(UTC)),
            "items: show_stock": lambda: store.show_stock(stock),
            "items: name_seller": lambda: store.name_seller("seller", "Sid"),
            "items: withdraw": lambda: store.change(withdrawn.id, lambda i: i.withdraw("seller"), command=False),
            "items: list under a key": lambda: store.add(listing.model_copy(update={"id": new_id()})),
        }

    async def _orders(self) -> dict[str, Act]:
        store = OrderStore(self._db, self._relay)
        await store.prepare()
        desk = self._desk(store)
        items = [listed() for _ in range(6)]
        for item in items[:5]:
            await desk.follow(item)
        placed = [await desk.place(placing(item)) for item in items[:4]]
        keyed = placing(items[4], key="key")
        desks = [self._desk(store) for _ in range(6)]
        return {
            "orders: expire": lambda: desks[0].expire(placed[0].id),
            "orders: cancel": lambda: desks[1].cancel(placed[1].id),
            "orders: settle": lambda: desks[2].settle(placed[2].id, "payment"),
            "orders: place under a key": lambda: desks[3].place(keyed),
            "orders: follow": lambda: desks[4].follow(items[5]),
            "orders: change": lambda: store.change(placed[3].id, note),
        }

    def _desk(self, store: OrderStore) -> ReservationDesk:
        return ReservationDesk(store, HoldLimits(timedelta(minutes=15)))

    async def _payments(self) -> dict[str, Act]:
        payments, dues = PaymentStore(self._db, self._relay), DueStore(self._db)
        await payments.prepare()
        captured, paying, due = payment(), payment(), owed()
        captured.capture("ch_1", datetime.now(UTC))
        await payments.add(captured)
        ledger = SandboxLedger(self._db.sandbox_charges)
        await ledger.add({"_id": "charged", "captured_at": datetime.now(UTC)})
        now = datetime.now(UTC) + timedelta(minutes=1)
        return {
            "payments: owe_refund": lambda: payments.change(captured, lambda p: p.owe_refund("late", now)),
            "payments: pay twice": lambda: payments.add(paying.model_copy(update={"id": new_id()})),
            "payments: copy_amount_due": lambda: dues.keep(due),
            "sandbox: charge": lambda: ledger.add({"_id": "again", "amount": 1}),
            "sandbox: refund": lambda: ledger.refund("charged", now),
        }

    async def _tickets(self) -> dict[str, Act]:
        bookings, events = BookingStore(self._db, self._relay), EventStore(self._db)
        await bookings.prepare()
        sale, item, now = sold(), listed(), datetime.now(UTC)
        return {
            "tickets: follow_event": lambda: events.keep(item),
            "tickets: issue_tickets": lambda: bookings.record(sale.order_id, lambda b: b.issue(Sale.of(sale))),
            "tickets: revoke_refunded_tickets": lambda: bookings.record("unknown", lambda b: b.give_back("paid", now)),
        }

    async def _notifications(self) -> dict[str, Act]:
        people, mails, sales = PersonStore(self._db), MailStore(self._db), SaleStore(self._db)
        mail, sale, now = Mail.about(Kind.WELCOME, "key", "ada"), sold(), datetime.now(UTC)

        async def remember_erased() -> None:
            with suppress(*AWAY):
                await people.forget("eve")
            await people.keep("eve", "eve@souk.test", 1, name="Eve", language="en")

        return {
            "notifications: remember_person": lambda: people.keep("ada", "ada@souk.test", 1, name="Ada", language="en"),
            "notifications: remember an erased person": remember_erased,
            "notifications: send_receipt": lambda: mails.add(mail, now),
            "notifications: tell_seller": lambda: sales.add(sale, now),
        }

    async def _others(self) -> dict[str, Act]:
        log, retries, letters = EventLog(self._db), RetryStore(self._db), DeadLetterStore(self._db, self._relay)
        accounts = AccountStore(self._db, self._relay)
        for store in (log, retries, letters, accounts):
            await store.prepare()
        account = Account.register(email="ada@souk.test", name="Ada", password_hash="hash")
        keyrings = KeyringStore(self._db, self._relay)
        return {
            "audit: keep_orders": lambda: log.keep(Entry.of(message("orders.placed"))),
            "audit: keep_retry": lambda: retries.keep(Retry.of(message("retries.orders.x"))),
            "audit: keep_letter": lambda: letters.keep(DeadLetter.of(message("dead_letters.orders.x"))),
            "auth: use a challenge": lambda: keyrings.use("challenge", datetime.now(UTC) + timedelta(hours=1)),
            "auth: sign up": lambda: accounts.save(account.model_copy(update={"id": new_id()})),
        }


def offered(**more: Any) -> Item:
    now = datetime.now(UTC)
    return Item.offer(
        seller_id="seller", title="A lamp", description="", price=1, currency=Currency.EUR, quantity=5, now=now, **more
    )


def listed() -> ItemListed:
    return ItemListed(
        item_id=new_id(),
        item_version=1,
        seller_id="seller",
        title="A lamp",
        description="",
        price=1250,
        currency=Currency.EUR,
        quantity=5,
        status=ItemStatus.LISTED,
    )


def placing(item: ItemListed, key: str | None = None) -> PlaceOrder:
    return PlaceOrder(item.item_id, 1, "buyer", "Bea", key)


def note(order: Order) -> None:
    order.payment_failure = "declined"


def owed() -> Due:
    return Due.of(owed_event())


def owed_event() -> OrderPlaced:
    return OrderPlaced(
        order_id=new_id(),
        order_version=1,
        buyer_id="buyer",
        seller_id="seller",
        item_id=new_id(),
        item_title="A lamp",
        quantity=1,
        unit_price=1250,
        currency=Currency.EUR,
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )


def sold() -> OrderPaid:
    return OrderPaid(**owed_event().model_dump(), payment_id=new_id())


def payment() -> Payment:
    return Payment.begin(owed(), method="pm_card_visa", request_key=None, now=datetime.now(UTC))


def message(subject: str) -> Message:
    headers = {"ce-id": "event", "Nats-Msg-Id": "event"}
    return Message(subject.partition(".")[0].upper(), 1, subject, datetime.now(UTC), headers, b"{}")


@asynccontextmanager
async def relaying(bus_url: str, db: Database) -> AsyncIterator[Relay]:
    collections = (db.items, db.orders, db.stock, db.payments, db.letters, db.users, db.bookings)
    async with Bus.connected(bus_url, "orders") as bus, Relay.running(bus, *collections, sweep_every=3600) as relay:
        yield relay


@pytest_asyncio.fixture
async def cases(
    bus_url: str, replicated_db: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, Act]]:
    monkeypatch.setattr(orders_store, "TRANSACTION_TIMEOUT", REPLICATED_TIMEOUT)
    async with relaying(bus_url, replicated_db) as relay:
        yield await Cases(replicated_db, relay).prepare()


@pytest_asyncio.fixture
async def refused(bus_url: str, replicated_db: Database, mongo_trio: MongoTrio) -> AsyncIterator[dict[str, Act]]:
    """The cases that a unique index refuses. Here the server gives up before its client, so the answer always comes."""
    options: dict[str, Any] = {
        "w": "majority",
        "wtimeoutMS": WRITE_TIMEOUT_MS,
        "readConcernLevel": "majority",
        "tz_aware": True,
    }
    async with Client(mongo_trio.url_for(replicated_db.name), **options) as client:
        db = client.get_default_database()
        async with relaying(bus_url, db) as relay:
            cases = await Cases(db, relay).prepare()
            yield {name: cases[name] for name in REFUSED}


async def outcome(act: Act) -> str:
    """How a call ended."""
    try:
        return f"returned {await act()!r}"[:60]
    except NOT_CONFIRMED:
        return "not confirmed"
    except Exception as error:
        return f"raised {type(error).__name__}"


async def all_at_once(cases: dict[str, Act]) -> dict[str, str]:
    return dict(zip(cases, await asyncio.gather(*map(outcome, cases.values())), strict=True))


async def test_what_the_majority_has_not_confirmed_is_not_done_however_often_it_is_repeated(
    cases: dict[str, Act], mongo_trio: MongoTrio
) -> None:
    await mongo_trio.hold_back()
    unconfirmed = dict.fromkeys(cases, "not confirmed")
    assert await all_at_once(cases) == unconfirmed
    assert await all_at_once(cases) == unconfirmed
    await mongo_trio.let_go()
    await mongo_trio.whole()

    done = await all_at_once(cases)
    refused = {name: end for name, end in done.items() if not end.startswith("returned")}
    assert refused == {"payments: pay twice": "raised OrderNotPayable", "auth: sign up": "raised EmailTaken"}


async def test_a_refusal_because_of_a_write_that_the_majority_may_never_have_is_an_error(
    refused: dict[str, Act], mongo_trio: MongoTrio
) -> None:
    await mongo_trio.hold_back()
    unconfirmed = dict.fromkeys(refused, "not confirmed")
    assert await all_at_once(refused) == unconfirmed
    assert await all_at_once(refused) == unconfirmed
