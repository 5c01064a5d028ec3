"""Who caused what: one request id from HTTP through events to consumers, JSON logs that carry it, and metrics."""

import logging
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram
from pythonjsonlogger.json import JsonFormatter

REQUESTS = Histogram(
    "souk_http_request_seconds",
    "Time from the first byte of a request to the last byte of its answer, in seconds",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HANDLED = Counter("souk_events_handled_total", "Events handled and acknowledged", ["consumer"])
RETRIED = Counter("souk_events_retried_total", "Deliveries that failed and will come again", ["consumer"])
DEAD_LETTERS = Counter("souk_dead_letters_total", "Messages given up and kept in the dead-letter stream", ["consumer"])
RELAYED = Counter("souk_events_relayed_total", "Events that JetStream acknowledged", ["subject"])
BEHIND = Gauge("souk_outbox_behind", "Events written but not yet acknowledged by JetStream")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something happens: the request it all began with, its trace, and the event that led here.

    `traceparent` is W3C Trace Context; `event_id` is None directly under an HTTP request.
    """

    request_id: str
    traceparent: str
    event_id: str | None = None


_cause: ContextVar[Cause | None] = ContextVar("cause", default=None)


def new_cause(request_id: str | None = None, traceparent: str | None = None) -> Cause:
    """A cause for work that enters here, keeping what the caller sent along."""
    trace = traceparent or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return Cause(request_id=request_id or trace[3:35], traceparent=trace)


def current_cause() -> Cause:
    """Why the running code runs; a new cause where nobody asked for it (a sweeper, a timer)."""
    return _cause.get() or new_cause()


@contextmanager
def caused_by(cause: Cause) -> Iterator[None]:
    """Everything inside happens because of `cause`."""
    token = _cause.set(cause)
    try:
        yield
    finally:
        _cause.reset(token)


class _CauseFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if cause := _cause.get():
            record.request_id = cause.request_id
            if cause.event_id:
                record.event_id = cause.event_id
        return True


def log_as_json(service: str, level: str) -> None:
    """One JSON object a line on standard output: time, level, service, logger, message and what the code adds."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_CauseFilter())
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("httpx", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
