"""Builds web's parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from starlette.middleware.gzip import GZipMiddleware

from common.bus.connection import Bus
from common.http.app import Running, create_app, serve
from common.http.tls import trusting
from common.live_sessions import live_sessions
from common.places import Places
from common.settings import load
from web.clients.api import Api, Refused, Services
from web.live import stream
from web.live.updates import LISTENED, LiveUpdates
from web.pages import (
    accounts,
    attendees,
    browsing,
    catalogue,
    crawlers,
    documentation,
    favourites,
    my_data,
    operator_actions,
    operator_people,
    operators,
    orders,
    proofs,
    recovery,
    sales,
    security,
    selling,
    static_files,
    tickets,
)
from web.pages.error_pages import ErrorPages
from web.pages.forms import FORMS, FORMS_PER_PERSON, MAX_BODY, MAX_TEXT, WITH_PICTURES
from web.pages.proofs import answer_refusal
from web.pages.renewal import SessionRenewal
from web.rendering.assets import Assets
from web.rendering.documents import Documents
from web.rendering.templates import Templates
from web.security.csrf import Csrf
from web.security.headers import SecurityHeaders
from web.settings import WebSettings

CALL_TIMEOUT = httpx.Timeout(10, connect=2)
"""Seconds for a call to a service. Checking a password or storing a picture takes a while."""

CONNECTIONS = httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=3)
"""A service closes a connection after 5 idle seconds. Web does so earlier: no request is sent on a closed one."""


NO_COOKIES = DefaultCookiePolicy(allowed_domains=())
"""All visitors share the client. If it kept the cookie of a sign-in, the next visitor would be sent as that person."""


def calling(settings: WebSettings) -> httpx.AsyncClient:
    """What calls the services, and makes sure that they are."""
    authority = settings.services_ca_file
    return httpx.AsyncClient(
        timeout=CALL_TIMEOUT,
        limits=CONNECTIONS,
        cookies=CookieJar(NO_COOKIES),
        trust_env=False,
        verify=trusting("SERVICES_CA_FILE", authority) if authority else True,
    )


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Build everything that web needs while it runs."""
    settings = load(WebSettings)
    assets = Assets()
    templates = Templates(assets)
    async with (
        calling(settings) as client,
        Bus.of(settings, "web") as bus,
        AsyncExitStack() as listening,
    ):
        services = Services.at(client, settings)
        updates = LiveUpdates(Api(services), templates)
        # It hears first that a session has ended: then no page of it opens in between.
        sessions = await listening.enter_async_context(live_sessions(bus, settings, then=updates.receive))
        for events in LISTENED:
            await listening.enter_async_context(bus.listening(updates.receive, *events))
        csrf = Csrf(settings.csrf_secret.get_secret_value())
        parts = [
            settings,
            assets,
            templates,
            csrf,
            services,
            updates,
            sessions,
            Documents(),
            Places(FORMS_PER_PERSON, FORMS),
        ]
        yield Running(parts, {"bus": bus.check}, leaving=updates.close)


router = APIRouter()
for pages in (
    browsing,
    catalogue,
    crawlers,
    accounts,
    security,
    proofs,
    recovery,
    my_data,
    favourites,
    selling,
    orders,
    sales,
    attendees,
    tickets,
    operators,
    operator_actions,
    operator_people,
    documentation,
):
    router.include_router(pages.router, default_response_class=HTMLResponse, tags=["pages"])
for others in (stream, static_files):
    router.include_router(others.router, default_response_class=Response, tags=["pages"])

app = create_app("web", router, start, max_body=MAX_TEXT, larger_bodies={WITH_PICTURES: MAX_BODY})
app.add_exception_handler(Refused, answer_refusal)
app.add_middleware(ErrorPages)
app.add_middleware(SessionRenewal)
app.add_middleware(SecurityHeaders)
app.add_middleware(GZipMiddleware, minimum_size=500, compresslevel=5)

if __name__ == "__main__":
    serve(app, WebSettings, "web")
