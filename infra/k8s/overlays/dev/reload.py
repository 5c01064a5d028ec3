"""Run a service from a copy of its code, and restart it when a file changes. For development only.

SERVICE names the service; PYTHONPATH says where its code is, which is copied from /app to /source. A change in /source
(`skaffold dev` writes there) takes effect half a second later. When the service ends by itself, this ends too.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ORIGINAL = Path(os.environ.get("ORIGINAL", "/app"))
SOURCE = Path(os.environ.get("SOURCE", "/source"))
LOOK_EVERY = 0.5
"""Seconds."""


def main() -> int:
    """Run until the service ends by itself; return its exit code."""
    for part in ("common", "services"):
        if not (SOURCE / part).exists():  # A container that starts again keeps what was changed.
            shutil.copytree(ORIGINAL / part, SOURCE / part)
    os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].replace(str(ORIGINAL), str(SOURCE))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        code = run_until_changed()
        if code is not None:
            return code


def run_until_changed() -> int | None:
    """Run the service until its code changes; or until it ends by itself, and return its exit code then."""
    before = newest()
    command = [sys.executable, "-m", f"{os.environ['SERVICE']}.main"]
    with subprocess.Popen(command) as service:
        try:
            while service.poll() is None and newest() == before:
                time.sleep(LOOK_EVERY)
            return service.poll()
        finally:
            service.terminate()


def newest() -> float:
    """The time of the newest change of the code."""
    return max(file.stat().st_mtime for file in SOURCE.rglob("*") if file.suffix != ".pyc")


if __name__ == "__main__":
    sys.exit(main())
