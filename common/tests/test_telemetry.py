"""Logs: lines for people on a terminal, JSON for machines."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from io import StringIO

import pytest

from common.telemetry import Cause, LogFormat, caused_by, log_to_stdout

ANSI = re.compile(r"\x1b\[[0-9;]*m")
CAUSE = Cause(request_id="request-1", traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01", event_id="event-1")
RED = "\x1b[31m"
YELLOW = "\x1b[33m"
DIM = "\x1b[2m"


class Terminal(StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


Start = Callable[..., StringIO]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start to log to a standard output of our own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.delenv("NO_COLOR", raising=False)

    def started(output: StringIO, log_format: LogFormat | None = None) -> StringIO:
        root.handlers.clear()  # pytest's own, which `basicConfig` would close
        monkeypatch.setattr("sys.stdout", output)
        log_to_stdout("orders", "INFO", log_format)
        return output

    yield started
    root.handlers[:] = handlers
    root.setLevel(level)


def fail() -> None:
    try:
        raise ValueError("no such thing")
    except ValueError:
        logging.getLogger("a.b").exception("GET / failed")


@pytest.mark.parametrize(("output", "log_format"), [(StringIO, None), (Terminal, "json")])
def test_json_is_for_machines(start: Start, output: type[StringIO], log_format: LogFormat | None) -> None:
    written = start(output(), log_format)
    with caused_by(CAUSE):
        logging.getLogger("a.b").warning("%s is odd", "this", extra={"ms": 1.5})

    line = json.loads(written.getvalue())
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line.pop("time"))
    assert line == {
        "level": "WARNING",
        "logger": "a.b",
        "message": "this is odd",
        "service": "orders",
        "ms": 1.5,
        "request_id": "request-1",
        "trace_id": "ab" * 16,
        "event_id": "event-1",
    }


@pytest.mark.parametrize(("output", "log_format"), [(Terminal, None), (StringIO, "text")])
def test_a_line_is_for_people(start: Start, output: type[StringIO], log_format: LogFormat | None) -> None:
    written = start(output(), log_format)
    with caused_by(CAUSE):
        logging.getLogger("a.b").info("POST / 201", extra={"ms": 1.5, "route": "/"})
    logging.getLogger("a.b").info("started")

    first, second = written.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    POST / 201  1\.5 ms  request-1", ANSI.sub("", first))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    started", ANSI.sub("", second))
    assert f"{DIM}1.5 ms  request-1" in first


def test_warnings_and_errors_stand_out(start: Start) -> None:
    written = start(Terminal())
    logging.warning("odd")
    logging.error("broken")

    warning, error = written.getvalue().splitlines()
    assert (YELLOW in warning, RED in error) == (True, True)
    assert (RED in warning, YELLOW in error) == (False, False)


def test_a_traceback_has_a_line_for_each_of_its_lines_and_its_error_stands_out(start: Start) -> None:
    written = start(Terminal())
    fail()

    first, *trace, last = written.getvalue().splitlines()
    assert "GET / failed" in first
    assert trace[0] == "    Traceback (most recent call last):"
    assert 'raise ValueError("no such thing")' in trace[2]
    assert ANSI.sub("", last) == "    ValueError: no such thing"
    assert RED in last


def test_colours_can_be_switched_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    written = start(Terminal())
    fail()

    assert "GET / failed" in written.getvalue()
    assert not ANSI.search(written.getvalue())


@pytest.mark.parametrize("library", ["pymongo.command", "httpcore.http11", "mail.log"])
def test_what_libraries_say_of_documents_cookies_and_addresses_is_in_no_log(start: Start, library: str) -> None:
    output = start(StringIO())
    logging.getLogger().setLevel(logging.DEBUG)

    for level in (logging.DEBUG, logging.INFO):
        logging.getLogger(library).log(level, "RCPT TO:<ada@souk.test>")
    logging.getLogger(library).warning("the server is away")

    [line] = output.getvalue().splitlines()
    assert json.loads(line)["message"] == "the server is away"
