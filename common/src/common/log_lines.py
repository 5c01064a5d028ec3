"""Where log lines go: to standard output, those of requests several at a time.

A write to a pipe costs as much as a whole request. So a line of a request waits for `PATIENCE` and is then written with
all others that wait, by a thread. Any other line is written at once, after those that wait: order is kept, and nothing
waits that an operator looks for after an attack or a crash. A process that is killed takes the waiting lines with it.
"""

import logging
import threading
from collections import deque
from typing import TextIO

PATIENCE = 0.1
"""Seconds for which a line waits at most."""

MOST_WAITING = 10_000
"""Lines that wait; with more, whoever logs waits for them to be written."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream: those of the loggers in `patient`, below WARNING, several at a time."""

    def __init__(self, stream: TextIO, patient: frozenset[str]) -> None:
        super().__init__(stream)
        self._patient = patient
        self._waiting: deque[logging.LogRecord] = deque()
        self._writing = threading.Lock()
        self._some = threading.Event()
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._write_now_and_then, name="log lines", daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, now or soon."""
        self._waiting.append(record)
        patient = record.name in self._patient and record.levelno < logging.WARNING
        if not patient or len(self._waiting) > MOST_WAITING:
            self.flush()
        elif not self._some.is_set():
            self._some.set()
            if self._writer.ident is None:
                self._writer.start()

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:  # First: else somebody else could write later lines before these.
            records = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self.stream.write("".join(line for record in records for line in self._line(record)))
            self.stream.flush()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self.flush()
        self._ended.set()
        self._some.set()
        super().close()

    def _line(self, record: logging.LogRecord) -> tuple[str, ...]:
        try:
            return (self.format(record), self.terminator)
        except Exception:
            self.handleError(record)
            return ()

    def _write_now_and_then(self) -> None:
        while not self._ended.is_set():
            self._some.wait()
            self._ended.wait(PATIENCE)
            self._some.clear()
            self.flush()
