"""`python -m infra.local`: run Souk on this machine until Ctrl-C."""

import asyncio
import contextlib
import os
import signal
import sys

from infra.local.env import Unusable, data_dir, gateway_port, number, servers
from infra.local.stack.lock import InUse
from infra.local.stack.ports import PortTaken
from infra.local.stack.stack import Stack
from infra.local.stack.terminal import Terminal, table
from infra.servers.process import MissingBinary, StartFailed


async def run() -> None:
    """Run the stack until Ctrl-C, SIGTERM or SIGHUP; a second one kills what has not ended yet."""
    terminal = Terminal()
    stack = Stack(
        data_dir(),
        gateway_port(),
        hold_seconds=number("HOLD_SECONDS", 900, least=1, most=86_400),
        log_level=os.environ.get("LOG_LEVEL") or "INFO",
        servers=servers(),
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
        for line in table(stack.supervisors.values()):
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
