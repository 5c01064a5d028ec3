"""Replay of dead letters: an operator's decision brings a message back to the handler that failed on it."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from common.bus.consumers import REPLAYS, Consumer
from common.bus.message import Message
from common.bus.subscription import DurableSubscription, StreamFilter, delivered
from common.clock import now
from common.errors import Unavailable
from common.events import DeadLetterReplayed

log = logging.getLogger(__name__)

ROLLOUT = timedelta(minutes=15)
"""How long replicas of two versions may run side by side: so long a replay waits for a handler that knows it."""

PAUSE = 5.0
"""Seconds until a replay that waits for such a handler is delivered again."""


class DeadLetterReplay(DurableSubscription):
    """A service's durable subscription to replays: each is handed to the handler that it is for.

    The original message is read from its stream. From there on it is an ordinary delivery: it is retried with growing
    delays and becomes a new dead letter if that does not help.
    """

    def __init__(
        self,
        service: str,
        consumers: Sequence[Consumer],
        find: Callable[[str, int], Awaitable[Message | None]],
    ) -> None:
        """`find` reads the message with a sequence number from a stream."""
        super().__init__(service, REPLAYS, StreamFilter.of(DeadLetterReplayed))
        self._consumers = {consumer.name: consumer for consumer in consumers}
        self._find = find

    async def _take(self, msg: Msg) -> None:
        request = delivered(msg)
        try:
            replay = DeadLetterReplayed.model_validate_json(request.body)
        except ValidationError as error:
            await self.dead_letter(msg, request, f"{type(error).__name__}: {error}")
            return
        if replay.service != self.service:
            await msg.ack()
        elif consumer := self._consumers.get(replay.handler):
            await self._hand_over(msg, request, replay, consumer)
        else:
            await self._refuse(msg, request, replay, f"{self.service} has no handler {replay.handler}")

    async def _hand_over(self, msg: Msg, request: Message, replay: DeadLetterReplayed, consumer: Consumer) -> None:
        try:
            message = await self._find(replay.source_stream, replay.source_sequence)
        except (NatsError, Unavailable) as error:
            log.warning("could not read the message to replay yet: %s", error)
            await msg.nak(delay=1)
            return
        if message is None:
            await self.dead_letter(
                msg, request, f"{replay.source_stream} no longer has message {replay.source_sequence}"
            )
        elif consumer.reads(message):
            await consumer.handle(msg, message)
        else:
            await self._refuse(msg, request, replay, f"{consumer.reader} does not read {message.subject}")

    async def _refuse(self, msg: Msg, request: Message, replay: DeadLetterReplayed, why: str) -> None:
        """Leave the replay to a newer version of the service; make it a dead letter if none takes it in time."""
        if now() - replay.at < ROLLOUT:
            await msg.nak(delay=PAUSE)
        else:
            await self.dead_letter(msg, request, why)
