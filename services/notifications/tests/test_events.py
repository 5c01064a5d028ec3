"""The real service: events on a real bus become mails at a real SMTP server."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from common.bus.connection import Bus
from common.bus.provision import provision
from common.directory import ADDRESS_CHANGES, CONTACTS, RECIPIENTS, AddressChange, Contact, Recipient, answering
from common.events import (
    CancelReason,
    Currency,
    EmailChanged,
    EmailChangeRequested,
    OrderCancelled,
    OrderPaid,
    PaymentPartlyRefunded,
    PaymentRefunded,
    RolesChanged,
    TicketTransferOffered,
    UserErased,
    UserRegistered,
    VerificationRequested,
)
from common.ids import new_id
from common.mongo.client import Database
from common.papers import Papers, PapersQuery, printing
from infra.servers.process import free_port
from notifications.consumers import consumers
from notifications.main import app
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

from .receiving import Receiver, text_of

ADA = UserRegistered(user_id="ada", email="ada@souk.test", name="Ada", language="de")
SID = UserRegistered(user_id="sid", email="sid@souk.test", name="Sid")
PAID = OrderPaid(
    order_id="a1",
    order_version=3,
    buyer_id="ada",
    seller_id="sid",
    item_id="i1",
    item_title="A lamp",
    quantity=2,
    unit_price=1250,
    currency=Currency.EUR,
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    payment_id="p1",
)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(free_port())


@pytest.fixture
def environment(
    mongo_url: str, bus_url: str, tokens: Tokens, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    for name, value in {
        "MONGO_URL": mongo_url,
        "NATS_URL": bus_url,
        "JWT_PUBLIC_KEYS": tokens.jwk_set,
        "MAIL_TOKEN_KEY": "a key for mails of tests",
        "TRANSFER_TOKEN_KEY": "a key for tickets of tests",
        "MAIL_FROM": "Souk <souk@souk.test>",
        "PUBLIC_URL": "https://souk.test",
        "SMTP_URL": f"smtp://127.0.0.1:{receiver.port}",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest_asyncio.fixture(autouse=True)
async def answers(bus_url: str) -> AsyncIterator[list[Papers]]:
    """What tickets says next about the tickets of an order; then that there are none."""
    coming: list[Papers] = []

    async def find(query: PapersQuery) -> Papers:
        assert (query.item_id, query.language) == ("i1", "de")
        return coming.pop(0) if coming else Papers(settled=True)

    async with Bus.connected(bus_url, "tickets") as tickets, printing(tickets, find):
        yield coming


@pytest_asyncio.fixture
async def service(
    environment: pytest.MonkeyPatch, bus_url: str, receiver: Receiver
) -> AsyncIterator[httpx.AsyncClient]:
    await provision(bus_url, consumers.durables)
    async with receiver.listening(), running(app) as http:
        yield http


async def subjects(receiver: Receiver, count: int) -> set[str]:
    """Wait for so many mails, and return who gets what."""

    async def there() -> set[str] | None:
        return {f"{m['To']}: {m['Subject']}" for m in receiver.taken} if len(receiver.taken) >= count else None

    return await eventually(there, why=f"{count} mails")


async def test_an_event_that_comes_twice_or_early_is_one_mail(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, db: Database
) -> None:
    asked = VerificationRequested(user_id="ada", request_id="r1", email="ada@souk.test", welcome=True)
    await events.deliver(asked)  # Before the registration.
    await events.deliver(asked)
    await events.deliver(ADA)
    await db.mails.update_many({}, {"$set": {"due": datetime.now(UTC)}})  # Not after the whole pause.

    assert await subjects(receiver, 1) == {"ada@souk.test: Willkommen bei Souk"}
    assert await db.mails.count_documents({}) == 1
    assert "https://souk.test/verify-email?token=r1." in text_of(receiver.taken[0])
    for message in await events.messages("USERS", "users.>"):
        assert b"r1." not in message.data  # No event holds a token.


async def test_the_buyer_is_told_once_of_each_part_that_goes_back_and_then_of_the_rest(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, db: Database
) -> None:
    state = {"payment_id": "p1", "order_id": "a1", "buyer_id": "ada", "amount": 2500, "currency": "EUR"}

    def part(version: int, before: int, amount: int) -> PaymentPartlyRefunded:
        more = {"payment_version": version, "refunded_before": before, "refunded_amount": amount}
        return PaymentPartlyRefunded.model_validate(state | more)

    rest = {"payment_version": 7, "refunded_before": 400, "reason": "requested_by_seller"}
    await events.deliver(ADA)
    for event in (part(5, 700, 400), part(3, 0, 300), part(4, 300, 700), part(3, 0, 300)):
        await events.deliver(event)
    await events.deliver(PaymentRefunded.model_validate(state | rest))

    assert await subjects(receiver, 3) == {
        "ada@souk.test: Erstattung: 3,00\xa0€",
        "ada@souk.test: Erstattung: 4,00\xa0€",
        "ada@souk.test: Erstattung: 21,00\xa0€",
    }
    assert await db.mails.count_documents({}) == 3
    [second] = [text_of(mail) for mail in receiver.taken if "4,00" in mail["Subject"]]
    assert "7,00\xa0€ von 25,00\xa0€" in second
    assert "gehört weiter dir" in second


async def test_the_buyer_gets_a_receipt_and_the_seller_a_digest_at_the_end_of_the_day(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, db: Database
) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for event in (ADA, SID, PAID, PAID, PAID.model_copy(update={"order_id": "a2"})):
        await events.deliver(event)
    await subjects(receiver, 2)
    digest = await db.mails.find_one({"kind": "sales_of_a_day"})
    assert digest
    assert digest["due"] in (midnight + timedelta(minutes=5), midnight + timedelta(days=1, minutes=5))

    await db.mails.update_one({"_id": digest["_id"]}, {"$set": {"due": datetime.now(UTC)}})
    found = await subjects(receiver, 3)
    assert sum(subject.startswith("sid@souk.test: Your sales of") for subject in found) == 1
    [mail] = [mail for mail in receiver.taken if mail["To"] == "sid@souk.test"]
    assert "4 × A lamp: €50.00" in text_of(mail)


async def test_who_becomes_an_operator_or_is_no_longer_one_is_told_once(
    service: httpx.AsyncClient, events: Events, receiver: Receiver
) -> None:
    await events.deliver(ADA)
    given = RolesChanged(user_id="ada", account_version=2, roles=("operator",), at=datetime.now(UTC))
    await events.deliver(given)
    await events.deliver(given)
    await events.deliver(given.model_copy(update={"account_version": 3, "roles": ()}))

    assert await subjects(receiver, 2) == {
        "ada@souk.test: Du bist jetzt Betreiber von Souk",
        "ada@souk.test: Du bist nicht mehr Betreiber von Souk",
    }
    assert len(receiver.taken) == 2
    assert any("https://souk.test/operator" in text_of(mail) for mail in receiver.taken)


async def test_sellers_may_hear_of_each_sale(
    environment: pytest.MonkeyPatch, bus_url: str, receiver: Receiver, events: Events
) -> None:
    environment.setenv("SELLER_MAILS", "each")
    await provision(bus_url, consumers.durables)
    async with receiver.listening(), running(app):
        for event in (ADA, SID, PAID):
            await events.deliver(event)
        assert await subjects(receiver, 2) == {"ada@souk.test: Quittung: A lamp", "sid@souk.test: Sold: A lamp"}


async def test_of_the_endings_of_a_hold_only_expiry_is_told(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, db: Database
) -> None:
    await events.deliver(ADA)
    for order, reason in (("a1", CancelReason.BUYER), ("a2", CancelReason.EXPIRED)):
        state = PAID.model_dump(exclude={"payment_id", "restated"}) | {"order_id": order}
        await events.deliver(OrderCancelled(**state, reason=reason))

    await subjects(receiver, 1)
    assert [mail["_id"] async for mail in db.mails.find()] == ["order_expired:a2"]


async def test_nobody_gets_a_mail_about_what_is_long_past_or_only_stated_again(
    service: httpx.AsyncClient, events: Events, db: Database
) -> None:
    await events.deliver(ADA)
    month_ago = int((datetime.now(UTC) - timedelta(days=30)).timestamp() * 1000)
    old = UUID(int=(month_ago << 80) | (UUID(hex=new_id()).int & ((1 << 80) - 1)))
    await events.deliver(PAID, old.hex)
    await events.deliver(PAID.model_copy(update={"restated": True}))

    assert await db.mails.count_documents({}) == 0
    await events.deliver(PAID)
    assert await db.mails.count_documents({"kind": "order_paid"}) == 1


async def test_only_operators_see_what_has_failed(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, tokens: Tokens
) -> None:
    receiver.refused = {"ada@souk.test"}
    await events.deliver(ADA)
    await events.deliver(PAID)
    assert (await service.get("/api/notifications/failed", headers=tokens.headers(person()))).status_code == 403
    operator = tokens.headers(person("Ola", "operator"))

    async def shown() -> bool:
        answer = (await service.get("/api/notifications/failed", headers=operator)).json()
        return [(mail["id"], mail["reason"]) for mail in answer] == [("order_paid:a1", "550 5.1.1 nobody is there")]

    await eventually(shown)


async def test_an_erased_person_gets_no_mail_and_none_is_kept(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, db: Database
) -> None:
    await events.deliver(ADA)
    await events.deliver(PAID)
    await subjects(receiver, 1)
    await events.deliver(SID)

    await events.deliver(UserErased(user_id="ada", account_version=2))
    await events.deliver(ADA)  # Late, and from a revision that named people.
    await events.deliver(PAID.model_copy(update={"order_id": "a2"}))

    async def dropped() -> bool:
        return await db.mails.count_documents({"user_id": "ada"}) == 0

    await eventually(dropped, why="the mail about a late event is dropped")
    assert await db.people.find_one({"_id": "ada"}) == {"_id": "ada", "erased": True}
    assert {mail["To"] for mail in receiver.taken} == {"ada@souk.test"}
    assert len(receiver.taken) == 1
    assert await db.mails.count_documents({"user_id": "sid"}) == 1  # The digest of another person stays.


async def test_no_mail_to_the_address_of_an_erased_person_is_kept_whoever_asked_for_it(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, bus_url: str, db: Database
) -> None:
    async def changes(request_ids: list[str]) -> dict[str, AddressChange]:
        return {key: AddressChange(email="sid@souk.test", new_email="Ada@souk.test") for key in request_ids}

    await events.deliver(ADA)
    await events.deliver(SID)
    async with Bus.connected(bus_url, "auth") as bus, answering(bus, {ADDRESS_CHANGES: changes}):
        await events.deliver(EmailChangeRequested(user_id="sid", request_id="r1"))
    await subjects(receiver, 1)
    assert await db.mails.count_documents({"to": "Ada@souk.test"}) == 1

    await events.deliver(UserErased(user_id="ada", account_version=2))

    assert await db.mails.count_documents({}) == 0


async def test_a_ticket_goes_to_the_address_that_tickets_says_and_nowhere_once_the_offer_is_over(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, bus_url: str, db: Database
) -> None:
    async def recipients(request_ids: list[str]) -> dict[str, Recipient]:
        return {key: Recipient(email="cleo@souk.test") for key in request_ids if key == "a1-1-cafe"}

    def offered(request_id: str) -> TicketTransferOffered:
        ticket = {"ticket_id": "a1-1", "order_id": "a1", "tickets_version": 2, "item_id": "i1", "generation": 1}
        more = {"holder_id": "ada", "request_id": request_id, "item_title": "A concert"}
        return TicketTransferOffered.model_validate(ticket | more)

    async with Bus.connected(bus_url, "tickets") as tickets, answering(tickets, {RECIPIENTS: recipients}):
        await events.deliver(ADA)
        await events.deliver(offered("a1-1-over"))
        await events.deliver(offered("a1-1-cafe"))
        await subjects(receiver, 1)

        async def told() -> list[Any]:
            mails = [(mail["_id"], mail["state"], mail["to"]) async for mail in db.mails.find()]
            return mails if mails == [("ticket_offered:a1-1-cafe", "sent", None)] else []

        await eventually(told, why="one is sent, the other dropped, and no address is stored")
    assert [mail["To"] for mail in receiver.taken] == ["cleo@souk.test"]


async def test_tickets_go_with_a_receipt_as_soon_as_they_are_issued(
    service: httpx.AsyncClient,
    events: Events,
    receiver: Receiver,
    answers: list[Papers],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("notifications.mailer.TICKETS_PATIENCE", 60.0)
    pdf = b"%PDF-" + bytes(range(256))
    later = Papers(settled=False)
    answers += [later, later, Papers(settled=True, pdf=pdf)]
    await events.deliver(ADA)
    await events.deliver(PAID)
    await subjects(receiver, 1)

    [mail] = receiver.taken
    [attached] = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("tickets.pdf", "application/pdf")
    assert attached.get_content() == pdf
    for part in ("plain", "html"):
        body = mail.get_body((part,))
        assert body is not None
        assert "Die Tickets liegen bei" in body.get_content()
    assert "A lamp" in text_of(mail)


async def test_people_and_addresses_are_asked_of_auth(
    service: httpx.AsyncClient, events: Events, receiver: Receiver, bus_url: str
) -> None:
    contact = Contact(name="Ada", email="new@souk.test", email_version=2, language="en")

    async def contacts(user_ids: list[str]) -> dict[str, Contact]:
        return dict.fromkeys(user_ids, contact)

    async def changes(request_ids: list[str]) -> dict[str, AddressChange]:
        return dict.fromkeys(request_ids, AddressChange(email="old@souk.test", new_email="new@souk.test"))

    async with (
        Bus.connected(bus_url, "auth") as auth,
        answering(auth, {CONTACTS: contacts, ADDRESS_CHANGES: changes}),
    ):
        await events.deliver(UserRegistered(user_id="ada"))
        await events.deliver(EmailChangeRequested(user_id="ada", request_id="r1"))
        await events.deliver(EmailChanged(user_id="ada", account_version=2, email_version=2, request_id="r1"))

    assert await subjects(receiver, 2) == {
        "new@souk.test: Confirm your new address",
        "old@souk.test: Your address was changed",
    }
