"""The bus as a test sees it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from common.bus.durables import Durable
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.bus.streams import EVERY_STREAM, STREAMS, stream_config
from common.bus.subscription import covers
from common.events import EVENTS, Event
from infra.servers.nats import NatsServer
from tests.support.waiting import eventually

E = TypeVar("E", bound=Event)


class ProvisionedNats(NatsServer):
    """A bus that has every stream once it is started."""

    async def start(self, limit: float = 60) -> None:
        """See `Child`."""
        await super().start(limit)
        await provision(self.url)


class Events:
    """Publishes events as their owner would, and shows what was published and dead-lettered."""

    def __init__(self, js: JetStreamContext) -> None:
        self.js = js

    async def deliver(self, event: Event, event_id: str | None = None) -> None:
        """Publish an event, under a new id unless one is given, and wait until every consumer has handled it."""
        await self._publish(Envelope.of(event, event_id=event_id))
        await self.handled(event.stream)

    async def in_hand(self, service: str, handler: str, new_event: Callable[[], E]) -> E:
        """Publish events until a replica that hangs has one in hand, and return that one."""
        nats = self.js._nc
        inbox = await nats.subscribe(nats.new_inbox())
        request = json.dumps({"batch": 1, "expires": 10**10}).encode()
        while True:
            event = new_event()
            durable = Durable(service, handler, event.stream, event.subject)
            await nats.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{durable.stream}.{durable.name}", request, reply=inbox.subject
            )
            await self._publish(Envelope.of(event))
            try:
                taken = await inbox.next_msg(0.2)
            except NatsTimeout:
                continue  # The replica that works has it. The server takes turns.
            return type(event).model_validate_json(taken.data)

    async def _publish(self, envelope: Envelope) -> None:
        await self.js.publish(envelope.subject, envelope.body.encode(), headers=envelope.headers("test"))

    async def deliver_raw(self, subject: str, body: bytes) -> None:
        """Publish bytes, which need not be an event, and do not wait."""
        await self.js.publish(subject, body)

    async def handled(self, *streams: str, seconds: float = 30) -> None:
        """Wait until consumers have handled everything in these streams, or in all streams if none is named."""
        newest = {stream: await self._newest(stream) for stream in streams or STREAMS}

        async def quiet() -> bool:
            for stream, seen in newest.items():
                for c in await self.js.consumers_info(stream):
                    # The counts may not include a message that has just been stored.
                    last = max((seen[s] for s in seen if covers(c.config.filter_subject or "", s)), default=0)
                    behind = c.config.durable_name and c.ack_floor and c.ack_floor.stream_seq < last
                    if behind or c.num_pending or c.num_ack_pending:
                        return False
            return True

        await eventually(quiet, seconds, why=f"consumers of {streams or 'all streams'} have not handled everything")

    async def _newest(self, stream: str) -> dict[str, int]:
        """Return the sequence of the newest message of every subject in a stream."""
        subjects = (await self.js.stream_info(stream, subjects_filter=">")).state.subjects or {}
        return {subject: (await self.js.get_last_msg(stream, subject)).seq or 0 for subject in subjects}

    async def published(self, kind: type[E], count: int = 1) -> list[E]:
        """Wait for at least `count` events of this kind, and return all so far."""
        assert EVENTS[kind.subject] is kind

        async def enough() -> list[E] | None:
            found = [kind.model_validate_json(m.data) for m in await self.messages(kind.stream, kind.subject)]
            return found if len(found) >= count else None

        return await eventually(enough, why=f"{count} of {kind.subject}") if count else await enough() or []

    async def dead_letters(self, count: int = 1) -> list[Any]:
        """Wait for at least `count` dead letters, and return all so far."""

        async def enough() -> list[Any] | None:
            found = await self.messages("DEAD_LETTERS", "dead_letters.>")
            return found if len(found) >= count else None

        return await eventually(enough, why=f"{count} dead letters") if count else await enough() or []

    async def messages(self, stream: str, subject: str) -> list[Any]:
        """Return the messages of a stream under `subject`, oldest first."""
        found: list[Any] = []
        sequence = 1
        while True:
            try:
                message = await self.js.get_msg(stream, seq=sequence, subject=subject, next=True)
            except NotFoundError:
                return found
            found.append(message)
            sequence = (message.seq or sequence) + 1


async def emptied(js: JetStreamContext, name: str, config: StreamConfig | None = None) -> None:
    """Delete a stream, and create it anew, before the next one is deleted, if it is one of ours.

    nats-server removes a deleted stream's folder after its answer. Without a stream it removes the folder around them,
    too, and who creates one in that moment hears "error creating store for stream". While an older folder of the same
    name still waits to be removed, a deleted stream keeps its messages, and the new one has them.
    """
    async with asyncio.timeout(30):
        await js.delete_stream(name)
        while name in EVERY_STREAM and (await js.add_stream(config or stream_config(name))).state.last_seq:
            await js.delete_stream(name)
