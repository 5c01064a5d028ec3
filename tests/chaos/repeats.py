"""Messages that are delivered again: late, in another order, under a new message id, as a bus may do."""

import random
from dataclasses import dataclass
from typing import Any

from nats.js import JetStreamContext

from common.events import EVENTS

STREAMS = tuple(sorted({event.stream for event in EVENTS.values()}))


@dataclass(frozen=True, order=True)
class Place:
    """The place of a message in a stream."""

    stream: str
    sequence: int


class Repeats:
    """Publishes events of the streams again, except for repetitions and messages that are not events."""

    def __init__(self, js: JetStreamContext, chance: random.Random) -> None:
        self._ours: set[Place] = set()
        self._js = js
        self._chance = chance
        self._next = dict.fromkeys(STREAMS, 1)

    async def new(self, limit: int = 100) -> int:
        """Repeat what has come since the last call, at most the newest `limit`, shuffled; return how many."""
        places = []
        for stream, last in (await self._last()).items():
            places += [Place(stream, sequence) for sequence in range(self._next[stream], last + 1)]
            self._next[stream] = last + 1
        return await self._again([place for place in places if place not in self._ours][-limit:])

    async def old(self, limit: int = 100) -> int:
        """Repeat up to `limit` events from any time, shuffled; return how many."""
        places = []
        for stream, last in (await self._last()).items():
            places += [Place(stream, sequence) for sequence in range(1, last + 1)]
        originals = [place for place in places if place not in self._ours]
        return await self._again(self._chance.sample(originals, min(limit, len(originals))))

    async def _last(self) -> dict[str, int]:
        return {stream: (await self._js.stream_info(stream)).state.last_seq for stream in STREAMS}

    async def _again(self, places: list[Place]) -> int:
        self._chance.shuffle(places)
        messages: list[tuple[str, Any]] = []
        for place in places:
            message = await self._js.get_msg(place.stream, place.sequence)
            if "ce-id" in (message.headers or {}):
                messages.append((place.stream, message))
        for stream, message in messages:
            headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}
            headers["Nats-Msg-Id"] = f"again-{self._chance.random()}"
            ack = await self._js.publish(message.subject, message.data, headers=headers)
            self._ours.add(Place(stream, ack.seq))
        return len(messages)
