"""What audit does with every message of every stream: it keeps it. No rules."""

from audit.dead_letters.domain import Letter, Retry
from audit.event_log.domain import Entry
from audit.event_log.store import EventLog, LetterStore
from common.bus.consumers import Consumers
from common.bus.message import Message
from common.events import DeadLetterDecided, DeadLetterDiscarded, DeadLetterReplayed

consumers = Consumers("audit")


@consumers.on_stream("USERS")
async def keep_users(message: Message, log: EventLog) -> None:
    """Who signed up."""
    await log.keep(Entry.of(message))


@consumers.on_stream("ITEMS")
async def keep_items(message: Message, log: EventLog) -> None:
    """What sellers said of their items."""
    await log.keep(Entry.of(message))


@consumers.on_stream("ORDERS")
async def keep_orders(message: Message, log: EventLog) -> None:
    """What became of orders and stock."""
    await log.keep(Entry.of(message))


@consumers.on_stream("EXPIRATION")
async def keep_deadlines(message: Message, log: EventLog) -> None:
    """Whose time was over."""
    await log.keep(Entry.of(message))


@consumers.on_stream("PAYMENTS")
async def keep_payments(message: Message, log: EventLog) -> None:
    """Where money moved, and what the provider was asked."""
    await log.keep(Entry.of(message))


@consumers.on_stream("RETRIES")
async def keep_retry(message: Message, log: EventLog) -> None:
    """Which handler failed and will see its message again."""
    await log.keep_retry(Retry.of(message))


@consumers.on_stream("DEAD_LETTERS")
async def keep_letter(message: Message, letters: LetterStore) -> None:
    """Which handler gave up."""
    await letters.keep(Letter.of(message))


@consumers.on(DeadLetterReplayed, DeadLetterDiscarded)
async def remember_decision(event: DeadLetterDecided, letters: LetterStore) -> None:
    """What an operator decided: news only to a database that was made anew."""
    await letters.remember(event)
