"""One stack a data directory."""

import fcntl
import os
from pathlib import Path
from typing import TextIO


class InUse(RuntimeError):
    """Another stack runs on the same data."""


def in_use(folder: Path) -> bool:
    """Return whether a stack runs on the data in a folder."""
    try:
        lock(folder).close()
    except InUse:
        return True
    except FileNotFoundError:
        pass
    return False


def lock(folder: Path) -> TextIO:
    """Take the folder for this process until the file is closed. `InUse` when another process has it."""
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
