"""Sends the mails that are due, each at least once."""

import logging
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from functools import partial

from prometheus_client import Counter

from common.bus.connection import Bus
from common.clock import now
from common.directory import Directory
from common.errors import Unavailable
from common.leased_work import LeasedWork
from common.papers import Papers, papers_of
from common.polling import found_within
from notifications.domain import Facts, Kind, Mail, MailState, Person
from notifications.letters import Letters, words_of
from notifications.rendering import rendered
from notifications.smtp import Rejected, SmtpServer
from notifications.store import MailStore, PersonStore, SaleStore

log = logging.getLogger(__name__)

MAILS = Counter("souk_mails_total", "Mails that were sent, will be tried again, or have failed", ["kind", "outcome"])

GIVE_UP_AFTER = timedelta(days=3)
"""How long after it was asked for a mail is tried."""

FIRST_PAUSE = 60.0
"""Seconds from the first try to the second, and more than one takes. Each further pause is twice as long."""

LONGEST_PAUSE = 3600.0
"""Seconds between two tries at most."""


TICKETS_PATIENCE = 3.0
"""Seconds for which a receipt waits for the tickets of an order that was paid just now."""

TICKETS_AWAITED = timedelta(minutes=10)
"""A receipt that is older leaves without tickets: its reader finds them on the page of the order."""


class NotYet(Exception):
    """What the mail needs has not arrived here."""


class NotWanted(Exception):
    """What the mail is about is over."""


class Mailer:
    """Takes mails that are due from the store, and hands them to the SMTP server.

    A mail is marked as sent after the server has taken it. If its answer is lost, or this process dies between the two,
    the mail is sent again, with the same Message-ID.
    """

    def __init__(
        self,
        mails: MailStore,
        people: PersonStore,
        sales: SaleStore,
        letters: Letters,
        server: SmtpServer,
        *,
        sender: str,
        bus: Bus | None = None,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """Without a `bus` nobody is asked who is offered a ticket, nor for tickets that go with a receipt."""
        self._mails = mails
        self._bus = bus
        self._people = people
        self._sales = sales
        self._letters = letters
        self._server = server
        self._sender = sender
        self._due = LeasedWork(
            mails.mails, "due", self.send, poll_seconds=1, first_lease=first_pause, max_lease=LONGEST_PAUSE
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Send what is due, in the background."""
        return self._due.running()

    def wake(self) -> None:
        """Send at once what this process has just stored."""
        self._due.wake()

    async def send(self, mail_id: str) -> None:
        """Send a mail that is due, or give up on it. Raises what may pass."""
        mail = await self._mails.get(mail_id)
        if mail is None or mail.state is not MailState.PENDING:
            return
        if await self._people.is_erased(mail.user_id):
            await self._mails.forget(mail.user_id)
            return
        try:
            await self._hand_over(mail)
        except NotWanted:
            await self._mails.drop(mail.id)
        except Rejected as error:
            await self._failed(mail, str(error))
        except Exception as error:
            if mail.created_at and now() - mail.created_at > GIVE_UP_AFTER:
                await self._failed(mail, f"{type(error).__name__}: {error}")
                return
            MAILS.labels(mail.kind, "retried").inc()
            raise
        else:
            await self._mails.ended(mail.id, MailState.SENT, now())
            MAILS.labels(mail.kind, "sent").inc()

    async def _hand_over(self, mail: Mail) -> None:
        person = await self._people.find(mail.user_id, mail.email_version)
        if person is None:
            raise NotYet("their address is not known here yet")
        words = words_of(person.language)
        letter = self._letters.write(mail.kind, words, await self._complete(mail, person))
        tickets = await self._tickets(mail, person)
        await self._server.send(
            rendered(
                letter,
                words,
                person,
                to=await self._address(mail, person),
                sender=self._sender,
                site=self._letters.site,
                mail_id=mail.id,
                at=mail.created_at or now(),
                tickets=tickets,
            )
        )

    async def _address(self, mail: Mail, person: Person) -> str:
        if mail.to or mail.kind is not Kind.TICKET_OFFERED or self._bus is None:
            return mail.to or person.email
        recipient = await Directory(self._bus).recipient(mail.facts["request_id"])
        if recipient is None:
            raise NotWanted
        return recipient

    async def _tickets(self, mail: Mail, person: Person) -> bytes | None:
        """The tickets that go with a receipt. They are issued while it is written, so it waits for them a little."""
        if mail.kind is not Kind.ORDER_PAID or self._bus is None:
            return None
        ask = partial(papers_of, self._bus, mail.facts["order_id"], mail.facts["item_id"], person.language)

        async def settled() -> Papers | None:
            papers = await ask()
            return papers if papers.settled else None

        try:
            if papers := await found_within(TICKETS_PATIENCE, settled):
                return papers.pdf
        except Unavailable:
            log.warning("nobody says whether tickets go with the mail %s", mail.id)
        if mail.created_at and now() - mail.created_at > TICKETS_AWAITED:
            return None
        raise NotYet("its tickets are not known here yet")

    async def _complete(self, mail: Mail, person: Person) -> Facts:
        """The facts of a mail, with those that are looked up when it is sent."""
        if mail.kind is Kind.TICKET_OFFERED:
            return {**mail.facts, "giver": person.name}
        if mail.kind is not Kind.SALES_OF_A_DAY:
            return mail.facts
        lines = await self._sales.of_day(mail.facts["seller_id"], mail.facts["day"])
        return {**mail.facts, "lines": lines, "date": date.fromisoformat(mail.facts["day"])}

    async def _failed(self, mail: Mail, reason: str) -> None:
        await self._mails.ended(mail.id, MailState.FAILED, now(), reason)
        MAILS.labels(mail.kind, "failed").inc()
        log.error("the mail %s to user %s has failed: %s", mail.kind, mail.user_id, reason)
