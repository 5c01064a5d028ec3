"""Pulling: a replica asks a durable for messages, and asks again before it runs out of them.

The protocol is `consume` of NATS ADR-37: requests to `MSG.NEXT` whose answers come to one inbox.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from common.bus.durables import ACK_WAIT, Durable, wait_for
from common.cancelling import cancelled

log = logging.getLogger(__name__)

SHARE = 64
"""Messages of one durable that a replica has asked for or in hand: so many wait for `ACK_WAIT` if it hangs."""

LEAST = 8
"""Messages that a request asks for at least. While another one is on its way it is half of the share."""

EXPIRES = 5.0
"""Seconds that a request lasts: so long the server gives messages to a replica that hangs."""

HEARTBEAT = 2.0
"""Seconds without a message after which the server tells that it has the request."""

SILENCE = 2.5 * HEARTBEAT
"""Seconds without a sign of the server after which a request counts as lost."""

LOOK_EVERY = 0.5
"""Seconds between two looks whether a request is lost."""

STOP_TIMEOUT = 10.0
"""Seconds in which the messages in hand are finished when a replica stops."""

HAND_BACK_TIMEOUT = 1.0
"""Seconds in which those that were not are given back."""


class Puller:
    """Calls `handle` with the messages that this process gets of a durable, each in a task of its own."""

    def __init__(
        self, client: Client, js: JetStreamContext, durable: Durable, handle: Callable[[Msg], Awaitable[None]]
    ) -> None:
        self._client = client
        self._js = js
        self._durable = durable
        self._handle = handle
        self._in_hand: dict[asyncio.Task[None], Msg] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._inbox: Subscription | None = None
        self._asked = 0
        self._refused = False
        self._heard = 0.0
        self._connection = 0

    async def start(self) -> None:
        """Take messages from now on."""
        await wait_for(self._js, self._durable)
        await self._begin()
        self._tasks = [asyncio.create_task(self._keep_asking()), asyncio.create_task(self._keep_alive())]

    async def stop(self) -> None:
        """Take no more messages; finish those in hand within 10 seconds. The rest goes to another replica."""
        self._stopping = True
        if self._inbox and self._client.is_connected:
            with contextlib.suppress(NatsError):
                await self._inbox.drain()  # type: ignore[no-untyped-call]
        if self._in_hand:
            _, late = await asyncio.wait(set(self._in_hand), timeout=STOP_TIMEOUT)
            for task in late:
                task.cancel()
            if late:
                # Not gathered: pymongo on Python 3.11 may swallow a cancellation.
                await asyncio.wait(late, timeout=HAND_BACK_TIMEOUT)
        await cancelled(self._tasks)

    async def _begin(self) -> None:
        """Ask with a new inbox. What was asked for before is void: the server drops it with the old inbox."""
        old, self._inbox = self._inbox, await self._client.subscribe(self._client.new_inbox(), cb=self._receive)
        self._asked, self._refused, self._heard = 0, False, time.monotonic()
        self._connection = self._client.stats["reconnects"]
        if old:
            await old.unsubscribe()
        await self._ask()

    async def _ask(self) -> None:
        """Ask for as many messages as there is room for, if that is half of the share or no other request is left."""
        room = SHARE - self._asked - len(self._in_hand)
        if room < (SHARE / 2 if self._asked else LEAST) or self._stopping or not self._client.is_connected:
            return
        assert self._inbox  # noqa: S101 - set before the first call
        self._asked += room
        request = {"batch": room, "expires": int(EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._durable.stream}.{self._durable.name}"
        with contextlib.suppress(NatsError):  # Then it counts as lost after a while.
            await self._client.publish(subject, json.dumps(request).encode(), reply=self._inbox.subject)

    async def _receive(self, msg: Msg) -> None:
        self._heard = time.monotonic()
        if not msg.reply:
            await self._hear(msg.headers or {})
            return
        self._asked = max(0, self._asked - 1)
        task = asyncio.create_task(self._take(msg))
        self._in_hand[task] = msg

    async def _hear(self, status: dict[str, str]) -> None:
        """The server tells something about a request: it is still there, it has ended, or it is refused."""
        if unserved := status.get("Nats-Pending-Messages"):
            self._asked = max(0, self._asked - int(unserved))
            await self._ask()
        elif status.get("Status") != "100":
            log.info("%s gives no messages: %s", self._durable.name, status.get("Description") or status)
            self._refused = True

    async def _take(self, msg: Msg) -> None:
        try:
            await self._handle(msg)
        except Exception as error:
            log.warning("could not finish a message; it will be delivered again: %s", error or type(error).__name__)
        finally:
            del self._in_hand[cast("asyncio.Task[None]", asyncio.current_task())]
        await self._ask()

    async def _keep_asking(self) -> None:
        """Ask again if a request is lost: the connection was, or the server's leader, or the durable itself."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self._client.is_connected and self._is_lost():
                try:
                    if self._refused:
                        await wait_for(self._js, self._durable)
                    await self._begin()
                except NatsError as error:
                    log.info("cannot ask %s for messages yet: %s", self._durable.name, error or type(error).__name__)

    def _is_lost(self) -> bool:
        silent = self._asked > 0 and time.monotonic() - self._heard > SILENCE
        return silent or self._refused or self._connection != self._client.stats["reconnects"]

    async def _keep_alive(self) -> None:
        """Tell the server about messages that take long, so that it does not deliver them to another replica."""
        while True:
            before = dict(self._in_hand)
            await asyncio.sleep(ACK_WAIT / 3)
            for task, msg in before.items():
                with contextlib.suppress(NatsError):  # Also raised if it was acknowledged a moment ago.
                    if task in self._in_hand:
                        await msg.in_progress()
