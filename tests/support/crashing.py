"""A service with a fault point: `python -m tests.support.crashing orders` dies once, right after the write.

State and event are in the database; the process is killed before anything is published. In expiration, which has no
outbox, the deadline is claimed and the process is killed before the event is published. The file named by CRASHED
marks that it has happened: the next process of the service lives on.
"""

import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.bus.connection import Bus
from common.outbox import Relay


def dies_first(method: Any) -> Any:
    """The method, but the first call with something to publish ends the process."""

    def call(self: Any, what: Sequence[object]) -> Any:
        if what:
            try:
                Path(os.environ["CRASHED"]).open("x").close()
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return method(self, what)

    return call


if __name__ == "__main__":
    service = sys.argv[1]
    if service == "expiration":
        Bus.publish = dies_first(Bus.publish)  # type: ignore[method-assign]
    else:
        Relay.send = dies_first(Relay.send)  # type: ignore[method-assign]
    sys.argv = [service]
    runpy.run_module(f"{service}.main", run_name="__main__")
