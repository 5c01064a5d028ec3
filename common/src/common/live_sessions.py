"""The check of access tokens as every service with sessions has it: it hears what auth announces."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from common.bus.connection import Bus
from common.events import Event
from common.http.sessions import ANNOUNCED, REMEMBERED_SECONDS, Sessions
from common.settings import SessionSettings


@asynccontextmanager
async def live_sessions(
    bus: Bus, settings: SessionSettings, then: Callable[[Event], None] | None = None
) -> AsyncIterator[Sessions]:
    """Sessions that know what auth has announced, from the moment of entering on. `then` hears it after them."""
    sessions = Sessions(
        settings.jwt_public_keys,
        secure=settings.cookie_secure,
        verified_only=settings.verified_only,
        passkeys_only=settings.passkeys_only,
        writes_per_minute=settings.writes_per_minute,
    )

    def receive(event: Event) -> None:
        sessions.receive(event)
        if then:
            then(event)

    async with bus.listening(receive, *ANNOUNCED, past=REMEMBERED_SECONDS):
        yield sessions
