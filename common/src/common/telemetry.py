"""Metrics, logs, and the cause of each action: a request id that goes from HTTP through events to consumers."""

import logging
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram
from pythonjsonlogger.json import JsonFormatter

from common.log_lines import LineHandler

REQUESTS = Histogram(
    "souk_http_request_seconds",
    "Time from the first byte of a request to the last byte of its answer, in seconds",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HANDLED = Counter("souk_events_handled_total", "Events handled and acknowledged", ["consumer"])
RETRIED = Counter("souk_events_retried_total", "Deliveries that failed and will come again", ["consumer"])
DEAD_LETTERS = Counter("souk_dead_letters_total", "Messages put into the dead-letter stream", ["consumer"])
RELAYED = Counter("souk_events_relayed_total", "Events that JetStream acknowledged", ["subject"])
BEHIND = Gauge("souk_outbox_behind", "Events written but not yet acknowledged by JetStream")
BEHIND_FOR = Gauge(
    "souk_outbox_oldest_age_seconds", "Age of the oldest event that the last sweep could not publish, 0 if none"
)

LogFormat = Literal["text", "json"]

REQUEST_LOG = "common.http.middleware"
"""The logger with a line for each request."""

PLAIN, DIM, RED, YELLOW = (f"\x1b[{code}m" for code in (0, 2, 31, 33))
"""What a terminal takes for the end and the start of a colour (ECMA-48)."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something happens: the first request, its trace, and the event that led here.

    `traceparent` is W3C Trace Context; `event_id` is None directly under an HTTP request.
    """

    request_id: str
    traceparent: str
    event_id: str | None = None


_cause: ContextVar[Cause | None] = ContextVar("cause", default=None)


def new_cause(request_id: str | None = None, traceparent: str | None = None) -> Cause:
    """The cause of work that starts here. Keeps the ids that a caller has sent."""
    trace = traceparent or _new_trace()
    return Cause(request_id=request_id or trace[3:35], traceparent=trace)


def _new_trace() -> str:
    digits = f"{random.getrandbits(192):048x}"  # Unique, not secret: to ask the system costs ten times as much.
    return f"00-{digits[:32]}-{digits[32:]}-01"


def current_cause() -> Cause:
    """The cause of what runs now; a new one if nothing has set it, as in a timer."""
    return _cause.get() or new_cause()


@contextmanager
def caused_by(cause: Cause) -> Iterator[None]:
    """Inside, `current_cause` is `cause`; logs and events have its ids."""
    token = _cause.set(cause)
    try:
        yield
    finally:
        _cause.reset(token)


class _CauseFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if cause := _cause.get():
            record.request_id = cause.request_id
            if cause.traceparent:
                record.trace_id = cause.traceparent[3:35]
            if cause.event_id:
                record.event_id = cause.event_id
        return True


class TextFormatter(logging.Formatter):
    """A short line for people: time, level, message, and dimmed the milliseconds of a request and its id.

    Warnings are yellow and errors red, unless the environment variable `NO_COLOR` is set (no-color.org).
    """

    def __init__(self) -> None:
        super().__init__(datefmt="%H:%M:%S")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - of logging
        """The local time, to the millisecond."""
        return f"{super().formatTime(record, datefmt)}.{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the lines of a traceback. No colour goes beyond the end of a line."""
        colour = RED if record.levelno >= logging.ERROR else YELLOW if record.levelno >= logging.WARNING else ""
        first, *rest = record.getMessage().splitlines() or [""]
        if record.exc_info:
            rest += self.formatException(record.exc_info).splitlines()
        line = f"{_in(DIM, self.formatTime(record, self.datefmt))} {_in(colour, f'{record.levelname:<7} {first}')}"
        if details := _details(record):
            line += f"  {_in(DIM, details)}"
        return "\n".join([line, *(f"    {text}" for text in rest[:-1]), *(f"    {_in(colour, t)}" for t in rest[-1:])])


def _details(record: logging.LogRecord) -> str:
    details = vars(record)
    ms = [f"{details['ms']} ms"] if "ms" in details else []
    return "  ".join([*ms, *([details["request_id"]] if "request_id" in details else [])])


def _in(colour: str, text: str) -> str:
    return f"{colour}{text}{PLAIN}" if colour and not os.environ.get("NO_COLOR") else text


def _json_formatter(service: str) -> logging.Formatter:
    """One JSON object a line: time, level, service, logger, message and what the code adds."""
    return JsonFormatter(
        "{asctime}{levelname}{name}{message}",
        style="{",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        static_fields={"service": service},
    )


def log_to_stdout(service: str, level: str, log_format: LogFormat | None = None) -> None:
    """Log to standard output; by default as text if it is a terminal, else as JSON."""
    log_format = log_format or ("text" if sys.stdout.isatty() else "json")
    handler = LineHandler(sys.stdout, frozenset({REQUEST_LOG}))
    handler.addFilter(_CauseFilter())
    handler.setFormatter(TextFormatter() if log_format == "text" else _json_formatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # No line says these, and finding them out costs as much as the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Other lines of the last three have documents, cookies and addresses of mails.
    for chatty in ("httpx", "uvicorn.error", "pymongo", "httpcore", "mail.log"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
