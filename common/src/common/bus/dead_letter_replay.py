"""Dead letters that an operator replays: the message goes to the handler that gave it up, as if it came anew."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from common.bus.consumers import Consumer
from common.bus.message import Message
from common.bus.subscription import DurableSubscription, StreamFilter, delivered
from common.events import DeadLetterReplayed

log = logging.getLogger(__name__)


class DeadLetterReplay(DurableSubscription):
    """One durable subscription of a service beside its handlers': what is replayed goes to the one it is for.

    The message is read where it lies, so it is what it was. It takes the handler's own way: it may come again with a
    growing delay, and is a new dead letter when that does not help either.
    """

    def __init__(
        self,
        service: str,
        consumers: Sequence[Consumer],
        find: Callable[[str, int], Awaitable[Message | None]],
    ) -> None:
        """`find` reads the message of a stream with a sequence number."""
        super().__init__(service, "replays", StreamFilter.of(DeadLetterReplayed))
        self._consumers = {consumer.name: consumer for consumer in consumers}
        self._find = find

    async def _take(self, msg: Msg) -> None:
        asked = delivered(msg)
        try:
            letter = DeadLetterReplayed.model_validate_json(asked.body)
        except ValidationError as error:
            await self.dead_letter(msg, asked, f"{type(error).__name__}: {error}")
            return
        if letter.service != self.service:
            await msg.ack()
        elif (consumer := self._consumers.get(letter.handler)) is None:
            await self.dead_letter(msg, asked, f"{self.service} has no handler {letter.handler}")
        else:
            await self._hand_over(msg, asked, letter, consumer)

    async def _hand_over(self, msg: Msg, asked: Message, letter: DeadLetterReplayed, consumer: Consumer) -> None:
        try:
            message = await self._find(letter.source_stream, letter.source_sequence)
        except NatsError as error:
            log.warning("could not read what is to be replayed yet: %s", error)
            await msg.nak(delay=1)
            return
        if message is None:
            await self.dead_letter(msg, asked, f"{letter.source_stream} no longer has message {letter.source_sequence}")
        else:
            await consumer.handle(msg, message)
