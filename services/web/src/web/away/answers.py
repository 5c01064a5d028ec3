"""What a gateway answers in place of a service that it cannot reach: a page that tries again, or a problem."""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from string import Template

from common.languages import preferred_language

SECONDS = 5
"""How soon the page tries again, and what a problem asks of programs."""

PAGE = Template((Path(__file__).parent / "page.html").read_text())

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

KINDS = ("page", "api")

_ASKED = re.compile(rf"/(\d{{3}})/({'|'.join(KINDS)})")
"""How Traefik asks for the answer to a request that has failed with this status."""

_FAILURES = {str(status.value): status for status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)}


def page(language: str) -> str:
    """The page, which needs nothing but itself."""
    return PAGE.substitute(WORDS[language], lang=language, seconds=SECONDS)


def problem(status: HTTPStatus) -> str:
    """The problem (RFC 9457), as services answer one."""
    detail = f"no answer from this service; try again in {SECONDS} s"
    known = {"type": "about:blank", "title": status.phrase, "status": status, "code": "unavailable", "detail": detail}
    return json.dumps(known)


def answer(path: str, headers: Mapping[str, str]) -> tuple[HTTPStatus, dict[str, str], bytes]:
    """Status, headers and body in place of what did not come. `headers` are the request's, with names in lower case.

    Traefik's `errors` asks for `/502/page`. A controller of ingress-nginx's annotations tells status and address in
    `X-Code` and `X-Original-URI`. Where a service has no replica at all, it sends the request itself: 503.
    """
    asked = _ASKED.fullmatch(path)
    code = asked[1] if asked else headers.get("x-code", "")
    address = headers.get("x-original-uri", path)
    api = asked[2] == "api" if asked else address.startswith("/api/")
    status = _FAILURES.get(code, HTTPStatus.SERVICE_UNAVAILABLE)
    text = problem(status) if api else page(preferred_language(headers.get("accept-language", "")))
    kind = "application/problem+json" if api else "text/html; charset=utf-8"
    body = text.encode()
    return status, {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS}, body
