"""Web: builds its parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from fastapi import APIRouter
from starlette.middleware.gzip import GZipMiddleware

from common.bus.connection import Bus
from common.http.app import Running, create_app, serve
from common.http.sessions import Sessions
from common.settings import load
from web.clients.api import Api, Refused, Services
from web.live import streams as live
from web.live.updates import HEARD, Hub
from web.pages import catalogue, operators, orders, people, selling
from web.rendering import assets
from web.rendering.assets import Assets
from web.rendering.error_pages import Manners
from web.rendering.forms import MAX_BODY
from web.rendering.refusals import answer_refusal
from web.rendering.site import Site
from web.security.csrf import Csrf
from web.settings import WebSettings

CALL_TIMEOUT = httpx.Timeout(10, connect=2)
"""Seconds for a call of a service; a password or a picture takes its time."""

CONNECTIONS = httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=3)
"""A service closes a connection after 5 idle seconds: we do so first, so that no request meets a closed one."""


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything web needs, for the life of the process."""
    settings = load(WebSettings)
    files = Assets()
    app.state.secure = settings.cookie_secure
    site = Site.of(
        files,
        Csrf(settings.csrf_secret.get_secret_value()),
        secure=settings.cookie_secure,
        stripe_key=settings.stripe_publishable_key,
    )
    async with (
        httpx.AsyncClient(timeout=CALL_TIMEOUT, limits=CONNECTIONS, trust_env=False) as client,
        Bus.connected(settings.nats_url.get_secret_value(), "web", replicas=settings.nats_replicas) as bus,
        AsyncExitStack() as listening,
    ):
        services = Services.at(client, settings)
        hub = Hub(Api(services), site)
        for events in HEARD:
            await listening.enter_async_context(bus.listening(hub.hear, *events))
        parts = [files, site, services, hub, Sessions(settings.jwt_public_keys)]
        yield Running(parts, {"bus": bus.check}, leaving=hub.close)


router = APIRouter()
for pages in (catalogue, people, selling, orders, operators, live, assets):
    router.include_router(pages.router)

app = create_app("web", router, start, max_body=MAX_BODY)
app.add_exception_handler(Refused, answer_refusal)
app.add_middleware(Manners)
app.add_middleware(GZipMiddleware, minimum_size=500, compresslevel=5)

if __name__ == "__main__":
    serve(app, WebSettings, "web")
