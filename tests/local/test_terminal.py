"""What `make dev` prints is for people on a terminal, and for machines anywhere else."""

from io import StringIO
from pathlib import Path

import pytest

from infra.local.env import StackEnv
from infra.local.stack.stack import Stack
from infra.local.stack.terminal import Terminal

YELLOW_LINE = "12:00:00.000 \x1b[33mWARNING odd\x1b[0m"
URLS = {"mongod": "mongodb://db.test", "nats": "nats://bus.test", "redis": "redis://cache.test"}


class TerminalOutput(StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def terminal(monkeypatch: pytest.MonkeyPatch, output: StringIO) -> Terminal:
    monkeypatch.setattr("sys.stdout", output)
    return Terminal()


def test_a_line_has_its_process_and_its_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    output = TerminalOutput()
    terminal(monkeypatch, output).say("orders", YELLOW_LINE)

    assert output.getvalue().endswith(f"orders     \x1b[0m {YELLOW_LINE}\n")


@pytest.mark.parametrize(("output", "no_color"), [(StringIO, ""), (TerminalOutput, "1")])
def test_elsewhere_a_line_has_no_colours(
    monkeypatch: pytest.MonkeyPatch, output: type[StringIO], no_color: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    written = output()
    terminal(monkeypatch, written).say("orders", YELLOW_LINE)

    assert written.getvalue() == "orders      12:00:00.000 WARNING odd\n"


@pytest.mark.parametrize(
    ("output", "chosen", "log_format"),
    [
        (TerminalOutput, None, "text"),
        (StringIO, None, "json"),
        (TerminalOutput, "json", "json"),
        (StringIO, "text", "text"),
    ],
)
def test_services_log_in_the_format_that_suits_the_output_of_the_stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: type[StringIO], chosen: str | None, log_format: str
) -> None:
    monkeypatch.setenv("LOG_FORMAT", chosen or "")
    env = StackEnv()
    here = terminal(monkeypatch, output())

    stack = Stack(tmp_path, servers=URLS, log_format=env.log_format or here.log_format)

    assert stack.env("orders")["LOG_FORMAT"] == log_format
