"""The overlay for development restarts a service whose files change, and ends when the service ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.k8s.make_secrets import OVERLAY
from tests.support.waiting import eventually

SERVICE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(os.environ["WORDS"], "a").write("{word}\\n")
time.sleep({seconds})
sys.exit(3)
"""


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """The service's main.py, where the image has it."""
    file = tmp_path / "app/services/shop/src/shop/main.py"
    file.parent.mkdir(parents=True)
    (tmp_path / "app/common").mkdir()
    (file.parent / "__init__.py").touch()
    return file


@pytest.fixture
def start(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes to end at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.terminate()
        process.wait(60)


def write(file: Path, word: str, seconds: int) -> None:
    """Make a service that writes a word to a file, and ends with code 3 after `seconds`."""
    fresh = file.with_suffix(".pyc")  # At once: half of a file would be another service.
    fresh.write_text(SERVICE.format(word=word, seconds=seconds))
    fresh.replace(file)


def run(folder: Path) -> subprocess.Popen[bytes]:
    """The service, as the overlay runs it."""
    variables = {
        "SERVICE": "shop",
        "PYTHONPATH": f"{folder}/app/common/src:{folder}/app/services/shop/src",
        "ORIGINAL": f"{folder}/app",
        "SOURCE": f"{folder}/source",
        "WORDS": f"{folder}/words",
    }
    return subprocess.Popen([sys.executable, OVERLAY / "reload.py"], env={**os.environ, **variables})  # noqa: S603


async def wrote(folder: Path, *words: str) -> None:
    """Wait until the service has written these words."""

    async def complete() -> bool:
        file = folder / "words"
        return file.exists() and file.read_text().split() == list(words)

    await eventually(complete)


async def test_a_changed_file_restarts_it(main: Path, tmp_path: Path, start: list[subprocess.Popen[bytes]]) -> None:
    write(main, "before", seconds=60)
    start.append(run(tmp_path))
    await wrote(tmp_path, "before")

    write(tmp_path / "source/services/shop/src/shop/main.py", "after", seconds=60)

    await wrote(tmp_path, "before", "after")
    start[0].send_signal(signal.SIGTERM)
    assert start[0].wait(60) == 0


async def test_when_the_service_ends_the_container_ends(main: Path, tmp_path: Path) -> None:
    write(main, "bye", seconds=0)
    assert run(tmp_path).wait(60) == 3
