"""What the gateway answers in place of a service that it cannot reach: a page that tries again, or a problem."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from threading import Thread

from common.languages import preferred_language

SECONDS = 5
"""How soon the page tries again, and what a problem asks of programs."""

PAGE = Template((Path(__file__).parent / "away.html").read_text())

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Souk does not answer right now",
        "text": "It is usually back within seconds. This page tries again by itself.",
        "sent": "If you have just sent something, look whether it has arrived before you send it again.",
        "again": "Try again",
    },
    "de": {
        "title": "Souk antwortet gerade nicht",
        "text": "Meist ist es nach ein paar Sekunden wieder da. Diese Seite versucht es von selbst noch einmal.",
        "sent": "Wenn du gerade etwas abgeschickt hast, sieh nach, ob es angekommen ist, bevor du es noch einmal tust.",
        "again": "Noch einmal versuchen",
    },
}

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "Retry-After": str(SECONDS),
    "X-Content-Type-Options": "nosniff",
}


def page(language: str) -> str:
    """The page, which needs nothing but itself."""
    return PAGE.substitute(WORDS[language], lang=language, seconds=SECONDS)


def problem(status: HTTPStatus) -> str:
    """The problem (RFC 9457), as services answer one."""
    detail = f"no answer from this service; try again in {SECONDS} s"
    known = {"type": "about:blank", "title": status.phrase, "status": status, "code": "unavailable", "detail": detail}
    return json.dumps(known)


class Away:
    """Serves it on a free port of 127.0.0.1, in a thread: also while this process does something else."""

    def __init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> int:
        """Return the port, from which `/502/page` and `/502/api` are answered from now on."""
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
            Thread(target=self._server.serve_forever, name="away", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Serve it no longer."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer what the gateway asks for."""
        _, status, kind = self.path.split("/")
        language = preferred_language(self.headers.get("Accept-Language", ""))
        text = problem(HTTPStatus(int(status))) if kind == "api" else page(language)
        body = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/problem+json" if kind == "api" else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the standard library
        """Log nothing."""
