"""Pages refresh the session by themselves, before anything else happens with a request."""

import time
from http import HTTPStatus
from http.cookies import SimpleCookie

from fastapi import Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import Unauthenticated, Unavailable
from common.http.sessions import COOKIE, REFRESH_COOKIE, Sessions, cookie_name
from web.clients.api import Refused
from web.pages.visitor import UNKNOWN, api_of, refresh_token_of
from web.settings import WebSettings

EARLY = 60.0
"""Seconds before its end at which an access token is replaced: the calls that a page makes with it take a while."""

WITHOUT_SESSION = ("/static/", "/healthz", "/readyz", "/metrics")
"""Beginnings of paths for which nobody needs a session."""


class SessionRenewal:
    """Middleware: where the access token is about to expire, has expired or is outdated, it gets a new one.

    The request goes on with the new token, and its answer brings the new cookies. Requests at the same time, and a
    browser that did not get its answer, get the same cookies for half a minute. If auth is away, the request goes on as
    it came.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(WITHOUT_SESSION):
            await self._app(scope, receive, send)
            return
        cookies = await _renewed(Request(scope))
        if not cookies:
            await self._app(scope, receive, send)
            return

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = {name for text in headers.getlist("set-cookie") for name in SimpleCookie(text)}
                for text in cookies:
                    if not own & set(SimpleCookie(text)):  # Signing in or out knows better.
                        headers.append("set-cookie", text)
            await send(message)

        scope["headers"] = _replaced(scope, cookies)
        await self._app(scope, receive, send_with_cookies)


async def _renewed(request: Request) -> list[str]:
    """The cookies to set: new ones, or none where the session needs no refresh, or such that clear an ended one."""
    sessions: Sessions = request.app.state.parts[Sessions]
    token = refresh_token_of(request)
    if token is None or not _needs_refresh(sessions, request.cookies.get(sessions.cookie)):
        return []
    try:
        return await api_of(request).refresh(token)
    except Refused as refused:
        return _cleared(request) if refused.status == HTTPStatus.UNAUTHORIZED else []
    except Unavailable:
        setattr(request.state, UNKNOWN, True)
        return []


def _needs_refresh(sessions: Sessions, token: str | None) -> bool:
    try:
        session = sessions.session(token or "")
    except Unauthenticated:
        return True
    return session.expires_at - time.time() < EARLY or sessions.is_outdated(session)


def _cleared(request: Request) -> list[str]:
    secure = request.app.state.parts[WebSettings].cookie_secure
    response = Response()
    for name in (COOKIE, REFRESH_COOKIE):
        response.delete_cookie(cookie_name(name, secure=secure), httponly=True, samesite="lax", secure=secure)
    return response.headers.getlist("set-cookie")


def _replaced(scope: Scope, cookies: list[str]) -> list[tuple[bytes, bytes]]:
    """The headers of the request, as if the browser had these cookies already."""
    known = dict(Request({"type": "http", "headers": scope["headers"]}).cookies)
    for text in cookies:
        known |= {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    cookie = "; ".join(f"{name}={value}" for name, value in known.items() if value)
    headers = [(name, value) for name, value in Headers(scope=scope).raw if name != b"cookie"]
    return [*headers, (b"cookie", cookie.encode("latin-1"))]
