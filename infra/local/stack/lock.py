"""A lock that allows only one stack for each data directory."""

import fcntl
import os
from pathlib import Path
from typing import TextIO


class InUse(RuntimeError):
    """Another stack is running on the same data."""


def in_use(folder: Path) -> bool:
    """Return whether a stack is running on the data in a folder."""
    try:
        lock(folder).close()
    except InUse:
        return True
    except FileNotFoundError:
        pass
    return False


def owner(folder: Path) -> int:
    """Return the id of the process whose stack runs on the data in a folder."""
    return int((folder / "lock").read_text())


def lock(folder: Path) -> TextIO:
    """Lock the folder for this process until the file is closed. Raises `InUse` if another process holds the lock."""
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise InUse(
            f"the data in {folder} is in use by another stack (process {owner}): stop that one, "
            "or choose another folder with DATA_DIR=..."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
