"""`python -m audit.refill`: put everything that audit knows back into the streams, after the bus lost them.

It runs with the settings of audit, but `NATS_URL`, or with the argument `-` the first line of the input, is the address
of the bus with the user who may create streams. A message goes back to the place that it had, so what names its place
still finds it: dead letters, counts of tries, the log itself. It is safe to run at any time: a stream that has lost
nothing stays as it is, and after an interruption the next run goes on (docs/decisions/bus-lost.md).
"""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from audit.consumers import consumers
from audit.dead_letters.domain import message_id_of
from audit.dead_letters.store import every_letter
from audit.event_log.domain import Entry, id_of
from audit.event_log.store import EventLog
from audit.settings import AuditSettings
from audit.steps import run_step, say
from common.bus.message import Message
from common.bus.stream_refill import BATCH, Refilled, refilling
from common.bus.streams import SECURITY
from common.bus.subscription import DEAD_LETTERS, FAILURE_STREAMS
from common.events import DeadLetterReplayed
from common.mongo.client import Database, database
from common.settings import load

LOGGED = sorted({stream for _, stream in consumers.stream_handlers}.difference(FAILURE_STREAMS, [SECURITY]))
"""The streams whose messages are in the log."""

DECISIONS = DeadLetterReplayed.stream
"""Not in the log. It begins at a number that it never had: ids of dead letters may contain its old ones."""


async def refill_events(stream: Refilled, log: EventLog) -> int:
    """Put the events of one stream back; return how many were missing. A stream that lacks none is left as it is.

    What was archived stays so. If services have published already, because the stream was created again after the loss,
    their events are in places that older ones had. They follow behind these.
    """
    newcomers: list[Message] = []
    stream.archived = await log.archived(stream.name)
    logged = await log.last_place(stream.name)  # Read first: then a stream that lost nothing cannot be behind it.
    if not await stream.find():
        if logged <= stream.last and await _has_what_is_logged(stream, log):
            return 0
        newcomers = await _unknown(stream, log)
        await stream.open()
    count = await put_all(stream, log)
    for message in newcomers:
        await stream.append(message)
    await stream.close()
    return count


async def put_all(stream: Refilled, log: EventLog) -> int:
    """Put the entries of a stream that is open into their places; return how many were not there yet."""
    displaced: list[Entry] = []
    count = await stream.put(_oldest_of_each_place(log, stream.name, displaced))
    for entry in sorted(displaced, key=lambda one: one.time):
        await log.move(entry, await stream.append(entry.to_message()))
    return count


async def _has_what_is_logged(stream: Refilled, log: EventLog) -> bool:
    """Whether the stream has the log's messages in their places. Without gaps, its first messages tell."""
    async with aclosing(stream.read()) as messages, aclosing(log.places(stream.name, stream.archived)) as places:
        message = await anext(messages, None)
        async for oldest, *_ in places:
            if oldest.sequence > (stream.last if stream.gaps else stream.archived + BATCH):
                break
            while message and message.sequence < oldest.sequence:
                message = await anext(messages, None)
            if message is None or message.sequence > oldest.sequence or _id_of(message) != oldest.id:
                return False
    return True


async def _unknown(stream: Refilled, log: EventLog) -> list[Message]:
    """The messages of the stream that are not in the log."""
    found: list[Message] = []
    async with aclosing(stream.read()) as messages:
        while some := [message for _ in range(BATCH) if (message := await anext(messages, None))]:
            known = await log.known([_id_of(message) for message in some])
            found += [message for message in some if _id_of(message) not in known]
    return found


async def _oldest_of_each_place(log: EventLog, stream: str, displaced: list[Entry]) -> AsyncIterator[Message]:
    """The messages of a stream. Newer entries in the place of an older one are added to `displaced`."""
    async for oldest, *newer in log.places(stream):
        displaced += newer
        yield oldest.to_message()


def _id_of(message: Message) -> str:
    return id_of(message.headers, message.stream, message.sequence)


async def refill_dead_letters(stream: Refilled, db: Database, *, anew: bool = False) -> int:
    """Put the dead letters back, as events are; return how many were missing: all, if they are written `anew`."""
    letters = {letter.id: letter.to_message() async for letter in every_letter(db)}
    newcomers: list[Message] = []
    if not await stream.find() or anew:
        if not anew and all(letter.sequence <= stream.last for letter in letters.values()):
            return 0
        newcomers = [message async for message in stream.read() if message_id_of(message) not in letters]
        await stream.open()
    count = await stream.put(_each(letters.values()))
    for message in newcomers:
        await stream.append(message)
    await stream.close()
    return count


async def _each(messages: Iterable[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message


async def run(settings: AuditSettings, url: str) -> None:
    """Refill every stream, and print a line about each. The provisioning step creates the others, and all durables."""
    async with database(settings.mongo_url.get_secret_value()) as db:
        for name in LOGGED:
            async with refilling(url, name, settings.nats_replicas) as stream:
                say(f"{name}: {await refill_events(stream, EventLog(db))} events put back")
        async with refilling(url, DEAD_LETTERS, settings.nats_replicas) as stream:
            say(f"{DEAD_LETTERS}: {await refill_dead_letters(stream, db)} put back")
        async with refilling(url, DECISIONS, settings.nats_replicas) as stream:
            await stream.find()
            if not stream.last:
                await stream.begin(first=int(time.time()))
                say(f"{DECISIONS}: begun anew")


if __name__ == "__main__":
    raise SystemExit(run_step("refill", load(AuditSettings), run))
