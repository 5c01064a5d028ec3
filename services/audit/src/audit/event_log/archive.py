"""Audit's answers to who reads the archive: the events that are in the log, and in their stream no longer."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from audit.event_log.store import EventLog
from common.bus.archive import ARCHIVED, Archived, Page, Wanted, archive_subject, room_in
from common.bus.connection import Bus

PAGE = 500
"""Events of one answer, at most."""


@asynccontextmanager
async def answering_for_archive(bus: Bus, log: EventLog) -> AsyncIterator[None]:
    """Answer for every archived stream. Who may ask for which, the bus decides."""
    async with AsyncExitStack() as answering:
        for stream in ARCHIVED:

            async def answer(asked: bytes, stream: str = stream) -> bytes:
                wanted = Wanted.model_validate_json(asked)
                page = await page_of(log, stream, wanted, room_in(bus.largest_body))
                return page.model_dump_json().encode()

            await answering.enter_async_context(bus.answering(archive_subject(stream), answer))
        yield


async def page_of(log: EventLog, stream: str, wanted: Wanted, room: int) -> Page:
    """The first events that are wanted: as many as fit into `room` bytes, and one at least."""
    page, size = Page(messages=[], more=False), 0
    found = log.of_stream(stream, wanted.subjects, wanted.start, wanted.before, PAGE + 1)
    async for entry in found:
        one = Archived.of(entry.to_message())
        size += len(one.model_dump_json().encode())
        if page.messages and (size > room or len(page.messages) == PAGE):
            page.more = True
            break
        page.messages.append(one)
    return page
