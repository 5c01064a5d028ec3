"""Publishes what is in the security log to the stream SECURITY, under the name of the service."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from common.repeated import repeated
from common.security_log import SecurityLog

log = logging.getLogger(__name__)

EVERY = 0.5
"""Seconds between two looks at the log."""

PATIENCE = 2.0
"""Seconds that a process which ends gives to the last entries."""


@asynccontextmanager
async def publishing(security_log: SecurityLog, js: JetStreamContext, service: str) -> AsyncIterator[None]:
    """Publish its entries, in order, while inside, and the last ones on leaving. Without the bus, they wait."""

    async def publish(_over: asyncio.Event) -> None:
        security_log.close_window()
        try:
            await _publish(security_log, js, service)
        except NatsError as error:
            log.info("the security log waits for the bus: %s", error or type(error).__name__)

    try:
        async with repeated(publish, EVERY):
            yield
    finally:
        security_log.close_window(early=True)
        with contextlib.suppress(NatsError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await _publish(security_log, js, service)


async def _publish(security_log: SecurityLog, js: JetStreamContext, service: str) -> None:
    while security_log.waiting:
        entry = security_log.waiting[0]
        body = entry.model_dump_json(exclude_none=True).encode()
        await js.publish(f"security.{service}.{entry.kind}", body, headers={"Nats-Msg-Id": entry.id})
        if security_log.waiting and security_log.waiting[0] is entry:
            security_log.waiting.popleft()
