"""A folder in memory for the data of servers that tests share: nobody reads it after a test, so it needs no disk.

Most of what a test costs is a new database with its indexes, and most of that is waiting for the disk: six collections
with two indexes each took 236 ms on a disk and 50 ms in memory.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the folder is made by `mkdtemp`
NEEDED = 4 * 2**30
"""Bytes that must be free there; the servers of one test process take less than one GB."""


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """Make a folder that is gone at the end; it lies in `otherwise` where memory has no room for it."""
    if not _room():
        yield otherwise
        return
    _remove_left_behind()
    folder = Path(tempfile.mkdtemp(prefix=f"souk-test-{os.getpid()}-", dir=SHARED_MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _room() -> bool:
    return SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= NEEDED


def _remove_left_behind() -> None:
    """Remove what processes left that were killed."""
    for folder in SHARED_MEMORY.glob("souk-test-*-*"):
        if not Path("/proc", folder.name.split("-")[2]).exists():
            shutil.rmtree(folder, ignore_errors=True)
