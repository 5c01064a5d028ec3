"""`python -m audit.archive`: old events leave their streams. From then on they are in audit's log alone, the archive.

An event leaves if it is older than `ARCHIVE_DAYS`, every durable of the stream has handled it, and the log has it on a
majority of the database's members: each is looked up, none assumed. `--dry` only says what would leave. It runs with
the settings of audit, and with the address of the bus as `audit.refill` has it: of the user who may remove events.
It is safe to run at any time, also twice at once, and to kill (docs/decisions/years.md).
"""

import sys
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

from pydantic import Field

from audit.event_log.domain import Entry
from audit.event_log.store import EventLog
from audit.settings import AuditSettings
from audit.steps import run_step, say
from audit.unname import unnamed
from common.bus.archive import ARCHIVED
from common.bus.message import Message
from common.bus.stream_reader import in_batches
from common.bus.stream_trim import Trimmed, trimming
from common.clock import now
from common.mongo.client import database
from common.settings import load

BATCH = 500
"""Messages that are looked up in the log at once."""


class ArchiveSettings(AuditSettings):
    """Settings of the step."""

    archive_days: Annotated[int, Field(ge=2)] = 90
    """Days that an event stays in its stream. No hold lasts so long: deadlines are rebuilt from the stream alone."""


@dataclass(frozen=True)
class Archiving:
    """What was, or would be, done with one stream."""

    stream: str
    count: int
    until: int
    missing: int | None = None
    """The number of the first old message that the log does not have as it is in the stream."""
    slowest: str = ""
    """The durable that has not handled the next old message."""

    def __str__(self) -> str:
        line = f"{self.stream}: {self.count} events" + (f", up to number {self.until}" if self.count else "")
        if self.missing:
            line += (
                f"; number {self.missing} stays, with all behind it: it is not in audit's log as it is in the stream"
            )
        return line + (f"; {self.slowest} has not handled the next one" if self.slowest else "")


async def archive(stream: Trimmed, log: EventLog, before: datetime, *, dry: bool = False) -> Archiving:
    """Archive the events of a stream that were stored `before` a moment."""
    first, old = await stream.first(), await stream.last_before(before)
    kept, missing = await _in_the_log(stream, log, old)
    if not dry:
        # Before the durables are looked at: one that is created later sees where it has to begin.
        await stream.declare(kept)
    handled, slowest = await stream.handled()
    until = min(kept, handled)
    count = max(until - first + 1, 0)
    if count and not dry:
        await log.set_archived(stream.name, until)
        await stream.give_up(until)
    return Archiving(stream.name, count, until, missing, slowest if handled < kept else "")


async def _in_the_log(stream: Trimmed, log: EventLog, until: int) -> tuple[int, int | None]:
    """The number up to which the log has all messages, at most `until`; and the first one that it does not have."""
    done = 0
    async with aclosing(stream.messages()) as messages:
        async for some in in_batches(messages, BATCH):
            kept = await log.entries([Entry.of(message).id for message in some])
            for message in some:
                if message.sequence > until:
                    return done, None
                entry = kept.get(Entry.of(message).id)
                if not (entry and _is_of(entry, message) and stream.fits(entry.to_message())):
                    return done, message.sequence
                done = message.sequence
    return done, None


def _is_of(entry: Entry, message: Message) -> bool:
    """Whether an entry holds all of a message. One that was published twice is kept at its first place."""
    own = Entry.of(message)
    same = (entry.stream, entry.subject) == (own.stream, own.subject) and entry.sequence <= own.sequence
    return same and entry.body in (own.body, unnamed(own.subject, own.body))


async def run(settings: ArchiveSettings, url: str, *, dry: bool) -> bool:
    """Archive every stream, and print a line about each. Returns whether the log had all that is old."""
    before, complete = now() - timedelta(days=settings.archive_days), True
    say(f"{'would archive' if dry else 'archived'}, of what is older than {settings.archive_days} days:")
    async with database(settings.mongo_url.get_secret_value()) as db:
        log = EventLog(db)
        for name in ARCHIVED:
            async with trimming(url, name) as stream:
                done = await archive(stream, log, before, dry=dry)
                say(str(done))
                complete = complete and done.missing is None
    return complete


if __name__ == "__main__":
    raise SystemExit(run_step("archive", load(ArchiveSettings), partial(run, dry="--dry" in sys.argv[1:])))
