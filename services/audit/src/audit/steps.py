"""How the steps that change what streams hold start and fail: `audit.archive`, `audit.refill` and `audit.unname`.

Each runs with the settings of audit. `NATS_URL`, or with the argument `-` the first line of the input, is the address
of the bus with the user who may do that.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from audit.settings import AuditSettings
from common.bus.connection import BusError
from common.mongo.client import AWAY

S = TypeVar("S", bound=AuditSettings)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def run_step(name: str, settings: S, run: Callable[[S, str], Coroutine[Any, Any, bool | None]]) -> int:
    """Return the exit code: 1 if the step returns False, 2 with a sentence if a server is away or refuses, else 0."""
    url = sys.stdin.readline().strip() if "-" in sys.argv[1:] else settings.nats_url.get_secret_value()
    try:
        done = asyncio.run(run(settings, url))
    except (*AWAY, BusError, OSError) as error:
        print(f"cannot {name}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 1 if done is False else 0
