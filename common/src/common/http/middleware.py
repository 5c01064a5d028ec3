"""What every request passes through: HEAD, request ids, the limit of a body, one log line, one metric, and a 500."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from http import HTTPStatus

from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.http.problems import problem
from common.http.sessions import Sessions, writer_of
from common.http.write_limit import SAFE
from common.security_log import note
from common.telemetry import REQUESTS, caused_by, new_cause

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
MOST_DISCARDED = 64 * 1024 * 1024
"""A body that is too large is still read to its end if it has at most so many bytes; else the connection is closed."""

BODY_PATIENCE = 10.0
"""Seconds in which a body must bring `BODY_STEP` bytes more, or end."""
BODY_STEP = 80 * 1024
"""At this rate, 8 KB/s, a body of 64 KB arrives in time over any line that shows a page."""

OWN_SITE = frozenset({b"same-origin", b"none"})
"""What `Sec-Fetch-Site` says where a page of the same origin, or the person, caused the request."""

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class BodyTooSlow(HTTPException):
    """The body comes more slowly than anybody's line is: it is not waited for."""

    def __init__(self) -> None:
        detail = f"the body must bring {BODY_STEP // 1024} KB in {BODY_PATIENCE:.0f} seconds"
        super().__init__(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"})


class HeadMiddleware:
    """Answers HEAD wherever GET is answered: the same status and headers, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application see a GET, and end its answer after the headers."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})  # From here on, the server reports a disconnect.

        await self.app({**scope, "method": "GET"}, receive, send_headers)


class RequestMiddleware:
    """Gives every request an id and a cause, limits its body, logs and measures it, and answers 500 when code fails.

    A request that is cancelled because the service stops is answered 503.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body: int,
        larger_bodies: Mapping[re.Pattern[str], int],
        unlimited: re.Pattern[str] | None = None,
    ) -> None:
        self.app = app
        self.max_body = max_body
        self.larger_bodies = larger_bodies
        self.unlimited = unlimited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        # Raw headers, read and written: this runs for every request, and the wrappers would double its cost.
        given: dict[bytes, bytes] = dict(scope["headers"])
        cause = new_cause(
            _valid(REQUEST_ID, given.get(b"x-request-id")), _valid(TRACEPARENT, given.get(b"traceparent"))
        )
        status = 0
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", cause.request_id.encode()), (b"x-content-type-options", b"nosniff")]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    own.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *own]
            await send(message)

        with caused_by(cause):
            try:
                app = self._refusal(scope, given) or self.app
                if length := int(given.get(b"content-length", 0)):
                    receive = _in_time(receive, length)
                await app(scope, receive, send_with_id)
            except asyncio.CancelledError:  # The server stops, and this has taken too long.
                if not status:
                    stopped = problem(503, "unavailable", "this service stopped; try again", {"Retry-After": "1"})
                    await stopped(scope, receive, send_with_id)
                raise
            except Exception:
                log.exception("%s %s failed", scope["method"], scope["path"])
                if status:
                    raise  # Part of the answer is sent; only a broken connection shows that it is not all of it.
                failed = problem(500, "internal_error", "something went wrong here; the request id helps us find it")
                await failed(scope, receive, send_with_id)
            finally:
                _account(scope, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope, given: Mapping[bytes, bytes]) -> ASGIApp | None:
        method, path = scope["method"], scope["path"]
        if method not in SAFE and _from_another_site(given):
            note("denied", detail="cross_site")
            return problem(403, "cross_site", "another site sent this; nothing was changed")
        if b"transfer-encoding" in given:
            return problem(411, "length_required", "send the body with a Content-Length")
        length = int(given.get(b"content-length", 0))
        if length > self.max_body and length > (bound := self._bound(path)):
            return _after_the_body(problem(413, "too_large", f"the body may have at most {bound} bytes"), length)
        if method not in SAFE and (wait := self._wait(scope)):
            return _after_the_body(_too_many(wait), length)
        return None

    def _wait(self, scope: Scope) -> int:
        """The seconds for which the caller has to wait, because they have asked for too many changes."""
        sessions: Sessions | None = scope["app"].state.parts.get(Sessions)
        if sessions is None or (self.unlimited and self.unlimited.fullmatch(scope["path"])):
            return 0
        return sessions.writes.count(writer_of(Request(scope)))

    def _bound(self, path: str) -> int:
        return next((bound for paths, bound in self.larger_bodies.items() if paths.fullmatch(path)), self.max_body)


def _too_many(wait: int) -> ASGIApp:
    detail = f"you have asked for too many changes; try again in {wait} s"
    return problem(429, "too_many_requests", detail, {"Retry-After": str(wait)}, retry_after=wait)


def _after_the_body(answer: ASGIApp, length: int) -> ASGIApp:
    """Send the answer after the body has been read: a client that is still sending would not see it."""

    async def read_and_answer(scope: Scope, receive: Receive, send: Send) -> None:
        if length <= MOST_DISCARDED:
            with suppress(BodyTooSlow):
                while (await receive()).get("more_body"):
                    pass
        await answer(scope, receive, send)

    return read_and_answer


def _in_time(receive: Receive, length: int) -> Receive:
    """Receive a body of `length` bytes; raises `BodyTooSlow`. Only the time counts in which somebody waits for it."""
    left, received, wanted = BODY_PATIENCE, 0, min(length, BODY_STEP)

    async def receive_in_time() -> Message:
        nonlocal left, received, wanted
        if received >= length:
            return await receive()
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow from None
        left -= time.monotonic() - began
        received += len(message.get("body", b""))
        if received >= wanted:
            left, wanted = BODY_PATIENCE, min(length, received + BODY_STEP)
        return message

    return receive_in_time


def _from_another_site(given: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that a page of another origin caused the request: it may carry a cookie that is not meant.

    One with a bearer token and no cookie carries no such thing, and one without these headers comes from no browser.
    """
    if given.get(b"authorization", b"")[:7].lower() == b"bearer " and b"cookie" not in given:
        return False
    if site := given.get(b"sec-fetch-site"):
        return site not in OWN_SITE
    origin = given.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != given.get(b"host")


def _valid(pattern: re.Pattern[bytes], value: bytes | None) -> str | None:
    return value.decode() if value and pattern.fullmatch(value) else None


@cache
def _clock(method: str, route: str, status: int) -> Histogram:
    return REQUESTS.labels(method, route, status)


def _account(scope: Scope, status: int, seconds: float) -> None:
    if scope["path"] in QUIET:
        return
    route = getattr(scope.get("route"), "path", "none")
    _clock(scope["method"], route, status).observe(seconds)
    # A line for every read would cost as much as the read; the metrics count them.
    quiet = scope["method"] in {"GET", "HEAD"} and status < HTTPStatus.BAD_REQUEST
    log.log(
        logging.DEBUG if quiet else logging.INFO,
        "%s %s %s",
        scope["method"],
        scope["path"],
        status,
        extra={"route": route, "status": status, "ms": round(seconds * 1000, 2)},
    )
