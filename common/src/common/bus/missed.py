"""Events that no replica has handled yet: one that hangs may have them in hand, for `EXPIRES` and `ACK_WAIT` together.

Their durable delivers them again after that. Whoever can't wait so long reads them from the stream.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar, cast

from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import ValidationError

from common.bus.stream_reader import read_since
from common.errors import Unavailable
from common.events import Event
from common.ids import minted_at

E = TypeVar("E", bound=Event)

CLOCKS = timedelta(seconds=2)
"""How far the clock that made an id may be ahead of the bus's."""

AWAY = "this is not known here yet, and the bus is away; try again in a moment"


class Missed(Generic[E]):
    """Reads events of one type. One call reads at a time, whatever ids callers make up."""

    def __init__(self, client: Client, event: type[E]) -> None:
        self._client = client
        self._event = event
        self._reading = asyncio.Lock()

    async def __call__(self, identifier: str) -> list[E]:
        """Those that name this id, which `new_id` made, among the 1,000 that were stored first since it was made.

        Raises `Unavailable` without the bus.
        """
        made = datetime.fromtimestamp(minted_at(identifier), UTC) - CLOCKS
        async with self._reading:
            if not self._client.is_connected:
                raise Unavailable(AWAY)
            try:
                stored = await read_since(self._client, self._event.stream, self._event.subject, made)
            except NatsError as error:
                raise Unavailable(AWAY) from error
        events = list[E]()
        for message in stored:
            if identifier.encode() in message.body:
                try:
                    events.append(cast("E", message.event()))
                except ValidationError:
                    continue  # Its consumer makes it a dead letter.
        return events
