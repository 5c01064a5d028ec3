"""Mails that are due reach a real SMTP server, at least once, and twice only where its answer was lost."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from pydantic import SecretStr

from common.clock import now
from common.mail_tokens import MailTokens, Purpose
from common.mongo.client import Database
from infra.servers.process import free_port
from notifications.domain import Kind, Mail, MailState
from notifications.letters import Letters
from notifications.mailer import GIVE_UP_AFTER, Mailer
from notifications.smtp import SmtpServer
from notifications.store import MailStore, PersonStore, SaleStore
from tests.support.waiting import eventually

from .receiving import LOST, Receiver, text_of

RECEIPT = Mail.about(
    Kind.ORDER_PAID,
    "a1",
    "ada",
    {
        "order_id": "a1",
        "item_id": "i1",
        "item_title": "A <b>lamp</b>",
        "quantity": 2,
        "unit_price": 1250,
        "currency": "EUR",
        "total": 2500,
    },
)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(free_port())


@pytest_asyncio.fixture
async def ada(db: Database) -> None:
    await PersonStore(db).keep("ada", "ada@souk.test", 1, name="$Ada", language="en")


@asynccontextmanager
async def mailing(db: Database, receiver: Receiver, mails: MailStore | None = None) -> AsyncIterator[MailStore]:
    """A mailer at work whose pauses are short."""
    mails = mails or MailStore(db)
    await mails.prepare()
    mailer = Mailer(
        mails,
        PersonStore(db),
        SaleStore(db),
        Letters(
            "https://souk.test",
            MailTokens(SecretStr("a key for mails of tests")),
            MailTokens(SecretStr("a key for tickets of tests")),
        ),
        SmtpServer(SecretStr(f"smtp://127.0.0.1:{receiver.port}")),
        sender="Souk <souk@souk.test>",
        first_pause=0.4,
    )
    async with mailer.running():
        yield mails


async def ended(db: Database, state: MailState) -> dict[str, object]:
    """Wait until the one mail has come to an end."""

    async def found() -> dict[str, object] | None:
        return await db.mails.find_one({"state": state})

    return await eventually(found, why=f"a mail that is {state}")


async def test_a_mail_is_sent_once_in_text_and_html(db: Database, receiver: Receiver, ada: None) -> None:
    async with receiver.listening(), mailing(db, receiver) as mails:
        await mails.add(RECEIPT, now())
        await mails.add(RECEIPT, now())  # The event came twice.
        await ended(db, MailState.SENT)

    [mail] = receiver.taken
    assert (mail["To"], mail["Subject"], mail["Auto-Submitted"]) == (
        "ada@souk.test",
        "Receipt: A <b>lamp</b>",
        "auto-generated",
    )
    assert "Hello $Ada," in text_of(mail)
    assert "€25.00" in text_of(mail)
    html = mail.get_body(("html",))
    assert html
    assert "A &lt;b&gt;lamp&lt;/b&gt;" in html.get_content()
    assert "due" not in (await ended(db, MailState.SENT))


@pytest.mark.parametrize("answer", ["451 4.3.0 later", "452 4.2.2 full"])
async def test_what_may_pass_is_tried_again(db: Database, receiver: Receiver, ada: None, answer: str) -> None:
    receiver.answers = [answer, answer]
    async with receiver.listening(), mailing(db, receiver) as mails:
        await mails.add(RECEIPT, now())
        await ended(db, MailState.SENT)

    assert (receiver.asked, len(receiver.taken)) == (3, 1)


async def test_a_server_that_is_away_is_waited_for(db: Database, receiver: Receiver, ada: None) -> None:
    async with mailing(db, receiver) as mails:
        await mails.add(RECEIPT, now())
        await eventually(lambda: db.mails.find_one({"tries": {"$gte": 1}}), why="a first try")
        async with receiver.listening():
            await ended(db, MailState.SENT)

    assert len(receiver.taken) == 1


async def test_a_lost_answer_is_the_only_reason_to_send_twice_and_shows_in_the_message_id(
    db: Database, receiver: Receiver, ada: None
) -> None:
    receiver.answers = [LOST]
    async with receiver.listening(), mailing(db, receiver) as mails:
        await mails.add(RECEIPT, now())
        await ended(db, MailState.SENT)

    first, second = receiver.taken
    assert first["Message-ID"] == second["Message-ID"]


class DiesOnce(MailStore):
    """A process that dies after the server has taken the mail, before it is written down."""

    died = False

    async def ended(self, mail_id: str, state: MailState, now: datetime, reason: str = "") -> None:
        if not self.died:
            self.died = True
            raise ConnectionError("the process is gone")
        await super().ended(mail_id, state, now, reason)


async def test_a_crash_before_it_is_written_down_sends_it_again(db: Database, receiver: Receiver, ada: None) -> None:
    async with receiver.listening(), mailing(db, receiver, DiesOnce(db)) as mails:
        await mails.add(RECEIPT, now())
        await ended(db, MailState.SENT)

    first, second = receiver.taken
    assert first["Message-ID"] == second["Message-ID"]


async def test_a_ticket_is_offered_to_a_stranger_in_the_name_of_its_holder(
    db: Database, receiver: Receiver, ada: None
) -> None:
    facts = {"request_id": "order-1-cafe", "item_title": "A concert"}
    async with receiver.listening(), mailing(db, receiver) as mails:
        await mails.add(Mail.about(Kind.TICKET_OFFERED, "order-1-cafe", "ada", facts, to="cleo@souk.test"), now())
        await ended(db, MailState.SENT)

    [mail] = receiver.taken
    assert mail["To"] == "cleo@souk.test"
    text = text_of(mail)
    assert text.startswith("Hello,")
    assert "$Ada would like to give you a ticket" in text
    [token] = re.findall(r"https://souk.test/tickets/accept\?token=(\S+)", text)
    tokens = MailTokens(SecretStr("a key for tickets of tests"))
    assert tokens.request_id(Purpose.ACCEPT_TICKET, token) == "order-1-cafe"


async def test_a_refused_recipient_is_final_and_said(db: Database, receiver: Receiver, ada: None) -> None:
    receiver.refused = {"ada@souk.test"}
    async with receiver.listening(), mailing(db, receiver) as mails:
        await mails.add(RECEIPT, now())
        failed = await ended(db, MailState.FAILED)

    assert failed["reason"] == "550 5.1.1 nobody is there"
    assert [mail["_id"] for mail in await MailStore(db).failed(10)] == ["order_paid:a1"]
    assert receiver.taken == []


async def test_after_days_it_is_given_up(db: Database, receiver: Receiver, ada: None) -> None:
    async with mailing(db, receiver) as mails:
        await mails.add(RECEIPT, now() - GIVE_UP_AFTER - timedelta(minutes=1))
        failed = await ended(db, MailState.FAILED)

    assert "refused" in str(failed["reason"]).lower() or "connect" in str(failed["reason"]).lower()


async def test_a_mail_waits_for_its_person_and_for_the_address_it_was_asked_for(
    db: Database, receiver: Receiver
) -> None:
    people = PersonStore(db)
    facts = {"request_id": "r1"}
    async with receiver.listening(), mailing(db, receiver) as mails:
        await people.keep("ada", "old@souk.test", 1, name="Ada", language="de")
        await mails.add(Mail.about(Kind.RESET_PASSWORD, "r1", "ada", facts, email_version=2), now())
        await eventually(lambda: db.mails.find_one({"tries": {"$gte": 1}}), why="a first try")
        assert receiver.taken == []
        await people.keep("ada", "new@souk.test", 2)
        await people.keep("ada", "old@souk.test", 1, name="Ada", language="de")  # Late, and no news.
        await ended(db, MailState.SENT)

    [mail] = receiver.taken
    assert (mail["To"], mail["Subject"]) == ("new@souk.test", "Wähle ein neues Passwort")
    assert "https://souk.test/reset-password?token=r1." in text_of(mail)
