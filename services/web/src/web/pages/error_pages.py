"""A page wherever a service would answer with a problem (RFC 9457)."""

import json
import random
from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.pages.my_data import EXPORT
from web.pages.visitor import Visitor
from web.rendering.i18n import N_

FOR_MACHINES = ("/healthz", "/readyz", "/metrics", "/live", EXPORT)
"""Paths that no person looks at: their problems stay problems."""

TEXTS: dict[str, tuple[str, str]] = {
    "stale_form": (
        N_("This page was open for too long"),
        N_("You have signed in or out in the meantime. Nothing was changed. Go back, reload the page and try again."),
    ),
    "cross_site": (N_("Another site sent this"), N_("Nothing was changed. Open the page here and try again.")),
    "too_large": (
        N_("That is too much at once"),
        N_("A picture may have up to 5 MB, and an item up to six of them. Nothing was changed."),
    ),
    "request_timeout": (
        N_("That took too long to arrive"),
        N_("Nothing was changed. Try again with fewer or smaller pictures, or over a faster connection."),
    ),
    "not_owner": (N_("This is not yours"), N_("Only the seller of an item can change it.")),
    "operator_only": (N_("This page is for operators"), N_("Ask the people who run this market to make you one.")),
    "not_found": (
        N_("There is nothing here"),
        N_("The address may have a typing error, or you may no longer have access to what was here."),
    ),
    "too_many_requests": (N_("Too many attempts"), N_("Please wait a minute and try again.")),
    "unavailable": (
        N_("Part of Souk is unavailable"),
        N_("Nothing was lost, and it is usually back within seconds. Please try again."),
    ),
    "internal_error": (
        N_("Something went wrong on our side"),
        N_("It is not your fault. Please try again. If it keeps happening, send us the number below."),
    ),
    "bad_request": (N_("We did not understand that"), N_("Go back and try again. Nothing was changed.")),
}
"""Title and text of a page, by the code of the problem."""

RETRY = (4, 10)
"""Least and most seconds after which a page tries again by itself. Random, so that not all come at once."""

BY_STATUS = {
    HTTPStatus.FORBIDDEN: "not_owner",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_error",
}
"""The code whose texts are used if a problem's own code has none."""


class ErrorPages:
    """Middleware: replaces a problem with a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        start: Message | None = None
        body = bytearray()

        async def send_page(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(MutableHeaders(scope=message)):
                start = message
            elif start is None:
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await _page(scope, start, bytes(body))(scope, receive, send)

        for_people = scope["type"] == "http" and scope["path"] not in FOR_MACHINES
        await self._app(scope, receive, send_page if for_people else send)


def _is_problem(headers: MutableHeaders) -> bool:
    return headers.get("content-type") == "application/problem+json"


def _page(scope: Scope, start: Message, body: bytes) -> Response:
    """The page for a problem, or the way to the sign-in page if a session is missing."""
    found, headers = json.loads(body), MutableHeaders(scope=start)
    visitor, reads = Visitor.of(Request(scope)), scope["method"] in ("GET", "HEAD")
    if found["status"] == HTTPStatus.UNAUTHORIZED:
        back = visitor.here if reads else _page_of(scope)
        answer = visitor.redirect(f"/signin?next={quote(back, safe='')}")
    elif found["status"] == HTTPStatus.METHOD_NOT_ALLOWED and reads:
        return visitor.redirect(_page_of(scope))  # Somebody has reloaded the address of a form.
    else:
        code = found["code"] if found["code"] in TEXTS else BY_STATUS.get(found["status"], "bad_request")
        title, text = (visitor.i18n.gettext(words) for words in TEXTS[code])
        away = found["status"] == HTTPStatus.SERVICE_UNAVAILABLE
        answer = visitor.render(
            "problem.html",
            found["status"],
            title=title,
            text=text,
            request_id=headers["x-request-id"],
            again=(visitor.here if reads else _page_of(scope)) if away else None,
            retry=random.randint(*RETRY) if away and reads else None,  # noqa: S311
        )
    for name in ("x-request-id", "retry-after", "allow", "cache-control"):
        if name in headers:
            answer.headers[name] = headers[name]
    return answer


def _page_of(scope: Scope) -> str:
    """The path of the nearest page above the address of a form, or of the form's own page."""
    path = str(scope["path"])
    while path:
        reading = {**scope, "method": "GET", "path": path}
        if any(route.matches(reading)[0] is Match.FULL for route in scope["app"].routes):
            return path
        path = path.rpartition("/")[0]
    return "/"
