"""`python -m audit.unname`: take names and addresses out of the events of revisions that still had them there.

Once after the update to this revision; until then a deleted account is still named by its old events. It runs with the
settings of audit, and with the address of the bus as `audit.refill` has it. While a stream is written anew, events of
its owner wait in its database. Whoever interrupts it runs it again; where nothing is named, nothing happens.
Afterwards the provisioning step creates the durables of the streams again (docs/decisions/privacy.md).
"""

import json
from collections.abc import Sequence

from audit.dead_letters.store import every_letter, unname_letter
from audit.event_log.domain import Entry, text_of
from audit.event_log.store import EventLog
from audit.refill import put_all, refill_dead_letters
from audit.settings import AuditSettings
from audit.steps import run_step, say
from common.bus.message import Message
from common.bus.stream_refill import Refilled, refilling
from common.bus.subscription import DEAD_LETTERS
from common.events import (
    EVENTS,
    EmailChanged,
    EmailChangeRequested,
    TicketTransferOffered,
    UserRegistered,
    VerificationRequested,
)
from common.mongo.client import Database, database
from common.settings import load

NAMING = {
    UserRegistered.subject: ("email", "name"),
    VerificationRequested.subject: ("email",),
    EmailChangeRequested.subject: ("new_email",),
    EmailChanged.subject: ("email", "old_email"),
    TicketTransferOffered.subject: ("email",),
}
"""The fields in which events said who somebody is."""


def unnamed(subject: str, body: str) -> str:
    """The body of an event without those fields. One that is no JSON object says nothing any more."""
    if subject not in NAMING:
        return body
    try:
        fields = json.loads(body)
        kept = {name: value for name, value in fields.items() if name not in NAMING[subject]}
    except (ValueError, AttributeError, RecursionError):
        return "{}"
    return body if kept == fields else json.dumps(kept)


def _names(messages: Sequence[Message]) -> bool:
    bodies = ((one.subject, text_of(one.body)) for one in messages)
    return any(unnamed(subject, body) != body for subject, body in bodies)


def _naming(stream: Refilled) -> list[str]:
    return [subject for subject in NAMING if EVENTS[subject].stream == stream.name]


async def unname_events(stream: Refilled, log: EventLog) -> int:
    """Write a stream anew without names; return how many events had some. A stream that names nobody stays as it is."""
    stream.archived = await log.archived(stream.name)
    if not await stream.find():
        if not _names([message async for message in stream.read()]):
            return await log.unname(_naming(stream), unnamed)
        await stream.shut()
    async for message in stream.read():
        await log.keep(Entry.of(message))
    count = await log.unname(_naming(stream), unnamed)
    await stream.open()
    await put_all(stream, log)
    await stream.close()
    return count


async def unname_dead_letters(stream: Refilled, db: Database) -> int:
    """The same with dead letters. What was decided about them stays."""
    count = 0
    async for letter in every_letter(db):
        body = unnamed(letter.subject, letter.body)
        if letter.subject in NAMING and (body != letter.body or "\n" in letter.error):
            await unname_letter(db, letter.id, body, letter.error.partition("\n")[0])
            count += 1
    if count:
        await refill_dead_letters(stream, db, anew=True)
    return count


async def run(settings: AuditSettings, url: str) -> None:
    """Unname everything, and print a line about each stream."""
    async with database(settings.mongo_url.get_secret_value()) as db:
        for name in (UserRegistered.stream, TicketTransferOffered.stream):
            async with refilling(url, name, settings.nats_replicas) as stream:
                say(f"{stream.name}: {await unname_events(stream, EventLog(db))} events name nobody any more")
        async with refilling(url, DEAD_LETTERS, settings.nats_replicas) as stream:
            say(f"{stream.name}: {await unname_dead_letters(stream, db)} name nobody any more")


if __name__ == "__main__":
    raise SystemExit(run_step("unname", load(AuditSettings), run))
