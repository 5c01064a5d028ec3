"""How web answers: security headers on everything, and a page where a service would answer with a problem."""

import json
from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.rendering.i18n import N_
from web.security.visitor import Visitor

SOURCES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "font-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
"""Where a page may get what from: from us."""

STRIPE_SOURCES = {
    "script-src": "'self' https://js.stripe.com https://*.js.stripe.com",
    "frame-src": "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
    "connect-src": "'self' https://api.stripe.com",
}
"""What the page that takes a card needs besides (docs.stripe.com/security/guide)."""


def content_security_policy(**more: str) -> str:
    """The value of the header; `more` takes the place of the sources of the same name."""
    return "; ".join(f"{name} {sources}" for name, sources in {**SOURCES, **more}.items())


HEADERS = {
    "Content-Security-Policy": content_security_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HSTS = "max-age=31536000; includeSubDomains"

FOR_MACHINES = ("/healthz", "/readyz", "/metrics", "/live")

WORDS: dict[str, tuple[str, str]] = {
    "stale_form": (
        N_("This page was open for too long"),
        N_("You have signed in or out meanwhile. Nothing was changed. Go back, reload the page and try again."),
    ),
    "too_large": (
        N_("That is too much at once"),
        N_("A picture may have up to 5 MB, and an item up to six of them. Nothing was changed."),
    ),
    "not_owner": (N_("This is not yours"), N_("Only the seller of an item can change it.")),
    "operator_only": (N_("This is for operators"), N_("Ask somebody who runs this market to make you one.")),
    "not_found": (
        N_("There is nothing here"),
        N_("Perhaps the address has a typing error, or what was here is no longer yours to see."),
    ),
    "too_many_requests": (N_("Too many tries"), N_("Please wait a minute and try again.")),
    "unavailable": (
        N_("A part of Souk is away for a moment"),
        N_("Nothing was lost, and it is usually back within seconds. Please try again."),
    ),
    "internal_error": (
        N_("Something went wrong on our side"),
        N_("It is not your fault. Please try again; if it stays like this, tell us the number below."),
    ),
    "bad_request": (N_("We did not understand that"), N_("Go back and try again. Nothing was changed.")),
}
BY_STATUS = {
    HTTPStatus.FORBIDDEN: "not_owner",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_error",
}


class Manners:
    """Every answer of web leaves through here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: Message | None = None
        body = bytearray()

        async def politely(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if _is_problem(scope, headers):
                    held = message
                    return
                _dress(scope, headers)
            elif held:
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await _answer(scope, held, bytes(body))(scope, receive, politely_or_plain)
                return
            await send(message)

        async def politely_or_plain(message: Message) -> None:
            if message["type"] == "http.response.start":
                _dress(scope, MutableHeaders(scope=message))
            await send(message)

        await self.app(scope, receive, politely)


def _is_problem(scope: Scope, headers: MutableHeaders) -> bool:
    return headers.get("content-type") == "application/problem+json" and scope["path"] not in FOR_MACHINES


def _dress(scope: Scope, headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if scope["app"].state.secure:
        headers["Strict-Transport-Security"] = HSTS


def _answer(scope: Scope, start: Message, body: bytes) -> Response:
    """The page for a problem; the way to sign in where that is what is missing."""
    told, headers = json.loads(body), MutableHeaders(scope=start)
    visitor = Visitor.of(Request(scope))
    if told["status"] == HTTPStatus.UNAUTHORIZED:
        here = f"{scope['path']}?{scope['query_string'].decode('latin-1')}".removesuffix("?")
        answer = visitor.go(f"/signin?next={quote(here, safe='')}" if scope["method"] == "GET" else "/signin")
    else:
        code = told["code"] if told["code"] in WORDS else BY_STATUS.get(told["status"], "bad_request")
        title, text = (visitor.words.gettext(words) for words in WORDS[code])
        request_id = headers["x-request-id"]
        answer = visitor.page("problem.html", told["status"], title=title, text=text, request_id=request_id)
    for name in ("x-request-id", "retry-after", "allow", "cache-control"):
        if name in headers:
            answer.headers[name] = headers[name]
    return answer
