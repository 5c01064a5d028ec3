"""The bus as a test sees it."""

from typing import Any, TypeVar

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from common.bus.connection import STREAMS
from common.bus.envelope import Envelope
from common.events import EVENTS, Event
from tests.support.waiting import eventually

E = TypeVar("E", bound=Event)


class Events:
    """The bus as a test sees it: deliver events as their owner would, look at what was published and given up."""

    def __init__(self, js: JetStreamContext) -> None:
        self.js = js

    async def deliver(self, event: Event, event_id: str | None = None) -> None:
        """Publish an event (again, under a new id) and wait until every consumer of its stream is done with it."""
        envelope = Envelope.of(event, event_id=event_id)
        await self.js.publish(envelope.subject, envelope.body.encode(), headers=envelope.headers("test"))
        await self.handled(event.stream)

    async def deliver_raw(self, subject: str, body: bytes) -> None:
        """Publish bytes that may be no event at all; does not wait."""
        await self.js.publish(subject, body)

    async def handled(self, *streams: str, seconds: float = 30) -> None:
        """Wait until nothing in these streams (all, if none is named) is waiting for or with a consumer."""
        newest = {stream: await self._newest(stream) for stream in streams or STREAMS}

        async def quiet() -> bool:
            for stream, seen in newest.items():
                for c in await self.js.consumers_info(stream):
                    # The counts alone may not know yet of a message that has just come.
                    read = c.config.filter_subjects or []
                    last = max((seen[s] for s in seen if any(_covers(one, s) for one in read)), default=0)
                    behind = c.config.durable_name and c.ack_floor and c.ack_floor.stream_seq < last
                    if behind or c.num_pending or c.num_ack_pending:
                        return False
            return True

        await eventually(quiet, seconds, why=f"consumers of {streams or 'all streams'} are not done")

    async def _newest(self, stream: str) -> dict[str, int]:
        """The sequence of the newest message of every subject in a stream."""
        subjects = (await self.js.stream_info(stream, subjects_filter=">")).state.subjects or {}
        return {subject: (await self.js.get_last_msg(stream, subject)).seq or 0 for subject in subjects}

    async def published(self, kind: type[E], count: int = 1) -> list[E]:
        """Every event of this kind so far, once there are at least `count`; `count=0` looks at once."""
        assert EVENTS[kind.subject] is kind

        async def enough() -> list[E] | None:
            found = [kind.model_validate_json(m.data) for m in await self.messages(kind.stream, kind.subject)]
            return found if len(found) >= count else None

        return await eventually(enough, why=f"{count} of {kind.subject}") if count else await enough() or []

    async def dead_letters(self, count: int = 1) -> list[Any]:
        """The messages in the dead-letter stream, once there are at least `count`."""

        async def enough() -> list[Any] | None:
            found = await self.messages("DEAD_LETTERS", "dead_letters.>")
            return found if len(found) >= count else None

        return await eventually(enough, why=f"{count} dead letters") if count else await enough() or []

    async def messages(self, stream: str, subject: str) -> list[Any]:
        """Every raw message of a stream under `subject`, in order."""
        found: list[Any] = []
        sequence = 1
        while True:
            try:
                message = await self.js.get_msg(stream, seq=sequence, subject=subject, next=True)
            except NotFoundError:
                return found
            found.append(message)
            sequence = (message.seq or sequence) + 1


def _covers(pattern: str, subject: str) -> bool:
    return pattern == subject or (pattern.endswith(".>") and subject.startswith(pattern[:-1]))
