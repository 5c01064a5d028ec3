"""Lines of requests are written several at a time, all others at once, and none is lost or out of order."""

import logging
from collections.abc import Iterator
from io import StringIO
from threading import Barrier, Thread

import pytest

from common import log_lines
from common.log_lines import LineHandler
from tests.support.waiting import eventually

NEVER = 10**6


class Output(StringIO):
    """A stream that counts how often it is written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += bool(text)
        return super().write(text)


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def logger(output: Output, monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The parent of the loggers `test.requests`, whose lines are patient, and `test.others`."""
    monkeypatch.setattr(log_lines, "PATIENCE", NEVER)
    logger = logging.getLogger("test")
    handler = LineHandler(output, frozenset({"test.requests"}))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(handler)
    handler.close()


async def test_lines_of_requests_are_written_together(logger: logging.Logger, output: Output) -> None:
    for number in range(3):
        logging.getLogger("test.requests").info("request %s", number)
    assert output.writes == 0
    logger.handlers[0].flush()
    assert (output.writes, output.getvalue()) == (1, "request 0\nrequest 1\nrequest 2\n")


async def test_no_line_waits_for_ever(logger: logging.Logger, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "PATIENCE", 0.001)

    async def written() -> bool:
        return output.getvalue() == expected

    expected = ""
    for number in range(2):
        logging.getLogger("test.requests").info("request %s", number)
        expected += f"request {number}\n"
        await eventually(written)


@pytest.mark.parametrize(("name", "level"), [("test.others", logging.INFO), ("test.requests", logging.WARNING)])
def test_any_other_line_is_written_at_once_after_those_that_wait(
    logger: logging.Logger, output: Output, name: str, level: int
) -> None:
    logging.getLogger("test.requests").info("first")
    logging.getLogger(name).log(level, "second")
    assert output.getvalue() == "first\nsecond\n"


def test_a_line_that_cannot_be_written_takes_no_other_with_it(
    logger: logging.Logger, output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.handlers[0].setFormatter(logging.Formatter("%(message)s %(width)d"))
    logging.getLogger("test.requests").info("first", extra={"width": "no number"})
    logging.getLogger("test.others").info("second", extra={"width": 2})
    assert output.getvalue() == "second 2\n"
    assert "TypeError" in capsys.readouterr().err


def test_what_waits_is_written_when_the_process_ends(logger: logging.Logger, output: Output) -> None:
    logging.getLogger("test.requests").info("last")
    logger.handlers[0].close()
    assert output.getvalue() == "last\n"


def test_who_logs_too_much_waits(logger: logging.Logger, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "MOST_WAITING", 2)
    for number in range(3):
        logging.getLogger("test.requests").info("request %s", number)
    assert output.writes == 1


def test_lines_of_many_threads_are_all_written_each_in_its_order(logger: logging.Logger, output: Output) -> None:
    start = Barrier(4)

    def write(of: int) -> None:
        start.wait()
        for number in range(500):
            logging.getLogger("test.others" if number % 50 == 0 else "test.requests").info("%s %s", of, number)

    threads = [Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.handlers[0].flush()

    lines = [line.split() for line in output.getvalue().splitlines()]
    for writer in range(4):
        assert [int(number) for of, number in lines if of == str(writer)] == list(range(500))
