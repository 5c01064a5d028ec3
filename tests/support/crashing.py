"""A service with a fault point: `python -m tests.support.crashing orders` can be made to die right after a write.

State and event are in the database; the process is killed before anything is published. In expiration, which has no
outbox, the deadline is claimed and the process is killed before the event is published. The fault is armed by the file
named by FAULT. The process that dies of it removes the file first, so the next process of the service survives.
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


def with_fault(method: Any) -> Any:
    """Return the method, but the first call with something to publish after the fault is armed ends the process."""

    def call(self: Any, outgoing: Sequence[object]) -> Any:
        if outgoing:
            die_if_armed()
        return method(self, outgoing)

    return call


def die_if_armed() -> None:
    try:
        Path(os.environ["FAULT"]).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    service = sys.argv[1]
    if service == "expiration":
        Bus.publish = with_fault(Bus.publish)  # type: ignore[method-assign]
    else:
        Relay.send = with_fault(Relay.send)  # type: ignore[method-assign]
    sys.argv = [service]
    runpy.run_module(f"{service}.main", run_name="__main__")
