"""`python -m infra.local`: run Souk on this machine until Ctrl-C."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from common.child import MissingBinary, StartFailed
from infra.local.lock import InUse
from infra.local.ports import PortTaken
from infra.local.stack import Stack
from infra.local.terminal import Terminal, table

_SERVERS = {"mongod": "MONGO_URL", "nats": "NATS_URL", "redis": "REDIS_URL"}


class Unusable(RuntimeError):
    """A variable that makes no sense."""


def number(name: str, default: int, least: int, most: int) -> int:
    """Return a variable as a whole number. `Unusable` where it is none between `least` and `most`."""
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Unusable(f"{name} is {text!r}, but must be a number from {least} to {most}")
    return int(text)


async def run() -> None:
    """Run the stack until Ctrl-C, SIGTERM or SIGHUP; a second one kills what has not ended yet."""
    terminal = Terminal()
    stack = Stack(
        Path(os.environ.get("DATA_DIR") or ".data"),
        number("PORT", 8080, least=1024, most=65_000),
        hold_seconds=number("HOLD_SECONDS", 900, least=1, most=86_400),
        log_level=os.environ.get("LOG_LEVEL") or "INFO",
        servers={name: os.environ[variable] for name, variable in _SERVERS.items() if os.environ.get(variable)},
        say=terminal.say,
    )
    running = asyncio.create_task(keep_open(stack, terminal))

    def stop() -> None:
        if running.cancelling():
            stack.kill_all()
        else:
            terminal.say("souk", "stopping; once more kills what is left")
            running.cancel()

    for interruption in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(interruption, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    terminal.say("souk", f"stopped; the data stays in {stack.data_dir}")


async def keep_open(stack: Stack, terminal: Terminal) -> None:
    """Start the stack, say what runs where, and keep it until cancelled."""
    async with stack:
        for line in table(stack.keepers.values()):
            terminal.say("souk", line)
        print(f"ready: http://localhost:{stack.gateway.port}", flush=True)
        await asyncio.Event().wait()


def main() -> int:
    """Return the exit code: 0 after Ctrl-C, 1 with a sentence on what is in the way."""
    try:
        asyncio.run(run())
    except (InUse, MissingBinary, OSError, PortTaken, StartFailed, Unusable) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
