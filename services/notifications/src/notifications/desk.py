"""Stores the mails that events ask for."""

from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Literal

from common.clock import now
from common.errors import IdempotencyKeyReused
from common.events import Event, OrderPaid
from common.ids import minted_at
from common.telemetry import current_cause
from notifications.domain import Mail, sale, sales_of
from notifications.mailer import GIVE_UP_AFTER, Mailer
from notifications.store import MailStore, SaleStore

SellerMails = Literal["each", "daily", "off"]

DIGEST_DELAY = timedelta(minutes=5)
"""How long after the end of a day its digest is sent: the last sales of it have arrived then."""


class MailDesk:
    """Stores each mail once, whatever the number of times that its event comes, and wakes the mailer.

    Nobody wants a mail about what is long past: events that are older than `GIVE_UP_AFTER` ask for none, and neither do
    those that are stated again. So a bus that is read from its start sends nothing.
    """

    def __init__(self, mails: MailStore, sales: SaleStore, mailer: Mailer, seller_mails: SellerMails) -> None:
        self._mails = mails
        self._sales = sales
        self._mailer = mailer
        self._seller_mails = seller_mails

    async def take(self, event: Event, mail: Mail) -> None:
        """The event asks for this mail."""
        if is_news(event):
            await self._mails.add(mail, now())
            self._mailer.wake()

    async def take_message(self, mail: Mail) -> None:
        """An operator asks for this mail; again, with the same words, is once. Raises `IdempotencyKeyReused`."""
        await self._mails.add(mail, now())
        stored = await self._mails.get(mail.id)
        if stored and (stored.user_id, stored.facts) != (mail.user_id, mail.facts):
            raise IdempotencyKeyReused("this Idempotency-Key came with another message")
        self._mailer.wake()

    async def tell_seller(self, event: OrderPaid) -> None:
        """The event is a sale, which its seller hears of as the settings say."""
        if not is_news(event):
            return
        match self._seller_mails:
            case "each":
                await self.take(event, sale(event))
            case "daily":
                day = await self._sales.add(event, now())
                await self._mails.add(sales_of(event.seller_id, day), now(), due=_end_of(day) + DIGEST_DELAY)


def is_news(event: Event) -> bool:
    """Whether the event that is being handled is young enough for a mail, and no restatement."""
    if event.restated:
        return False
    try:
        made = datetime.fromtimestamp(minted_at(current_cause().event_id or ""), UTC)
    except ValueError:
        return True  # Not an id of ours: it says nothing about its age.
    return now() - made < GIVE_UP_AFTER


def _end_of(day: str) -> datetime:
    return datetime.combine(datetime.fromisoformat(day) + timedelta(days=1), time_of_day.min, UTC)
