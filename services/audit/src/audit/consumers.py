"""Audit stores every message of every stream. No rules."""

from audit.dead_letters.domain import DeadLetter, Retry
from audit.dead_letters.store import DeadLetterStore, RetryStore
from audit.event_log.domain import Entry
from audit.event_log.store import EventLog
from audit.security.domain import Noted
from audit.security.store import SecurityStore
from common.bus.consumers import Consumers, Handler
from common.bus.message import Message
from common.bus.streams import SECURITY
from common.events import EVENTS, DeadLetterDecided, DeadLetterDiscarded, DeadLetterReplayed, UserErased

consumers = Consumers("audit")

HANDLER_NAMES = {"EXPIRATION": "keep_deadlines"}
"""Handlers that are not called `keep_<stream>`. A handler's name is its durable consumer's: it must never change."""


def keeper_of(stream: str) -> Handler:
    """A handler that stores every event of a stream."""

    async def keep(message: Message, log: EventLog) -> None:
        await log.keep(Entry.of(message))

    keep.__name__ = HANDLER_NAMES.get(stream, f"keep_{stream.lower()}")
    return keep


for stream in sorted({event.stream for event in EVENTS.values()} - {DeadLetterReplayed.stream}):
    consumers.on_stream(stream)(keeper_of(stream))


@consumers.on_stream("RETRIES")
async def keep_retry(message: Message, retries: RetryStore) -> None:
    """A handler failed and gets its message again."""
    await retries.keep(Retry.of(message))


@consumers.on_stream("DEAD_LETTERS")
async def keep_letter(message: Message, letters: DeadLetterStore) -> None:
    """A handler could not handle a message."""
    await letters.keep(DeadLetter.of(message))


@consumers.on_stream(SECURITY)
async def keep_security(message: Message, log: SecurityStore) -> None:
    """A service has noted something in the security log."""
    await log.keep(Noted.of(message))


@consumers.on(UserErased)
async def forget_networks(event: UserErased, log: SecurityStore) -> None:
    """Nobody can say from where somebody came who has deleted their account."""
    await log.forget(event.user_id)


@consumers.on(DeadLetterReplayed, DeadLetterDiscarded)
async def remember_decision(event: DeadLetterDecided, letters: DeadLetterStore) -> None:
    """An operator decided about a dead letter. Only a new database does not know it yet."""
    await letters.remember(event)
