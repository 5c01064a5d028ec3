"""A span of each request, where traces are on."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.http.middleware import QUIET
from common.tracing import configured, span, traceparent_of


def traced(app: ASGIApp, service: str) -> ASGIApp:
    """The app as it is; where the environment says where spans go, inside a `TraceMiddleware`."""
    return TraceMiddleware(app, service) if configured() else app


class TraceMiddleware:
    """What is inside of it takes the span of the request for the caller's: the header `traceparent` names it."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        method = scope["method"]
        with span(self._service, method, given, "SERVER", {"http.request.method": method}) as measured:
            if measured is None:
                await self._app(scope, receive, send)
                return
            others = [header for header in scope["headers"] if header[0] != b"traceparent"]
            inner = {**scope, "headers": [*others, (b"traceparent", traceparent_of(measured).encode())]}

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    measured.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(inner, receive, send_noted)
            finally:
                # Never the path itself: it may hold what only one person should see.
                if route := getattr(inner.get("route"), "path", None):
                    measured.update_name(f"{method} {route}")
                    measured.set_attribute("http.route", route)
