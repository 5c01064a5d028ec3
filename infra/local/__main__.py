"""`python -m infra.local`: run Souk on this machine until Ctrl-C."""

import asyncio
import contextlib
import signal
import sys

from infra.local.env import StackEnv, Unusable, read
from infra.local.next_steps import next_steps
from infra.local.stack.lock import InUse
from infra.local.stack.ports import PortTaken
from infra.local.stack.stack import Stack
from infra.local.stack.terminal import Terminal, table
from infra.servers.process import MissingBinary, StartFailed

ROTATE = signal.SIGUSR1
"""The signal that `make rotate-keys` sends."""


async def run() -> None:
    """Run the stack until Ctrl-C, SIGTERM or SIGHUP; a second one kills everything that is still running."""
    env, terminal = read(StackEnv), Terminal()
    stack = Stack(
        env.data_dir,
        env.port,
        hold_seconds=env.hold_seconds,
        log_level=env.log_level,
        log_format=env.log_format or terminal.log_format,
        servers=env.servers,
        traces=env.traces,
        say=terminal.say,
    )
    running = asyncio.create_task(keep_open(stack, terminal))

    def stop() -> None:
        if running.cancelling():
            stack.kill_all()
        else:
            terminal.say("souk", "stopping; a second Ctrl-C kills what is still running")
            running.cancel()

    rotating: set[asyncio.Task[None]] = set()

    def rotate() -> None:
        if not any(not task.done() for task in rotating):
            rotating.add(asyncio.create_task(rotate_keys(stack, terminal)))

    asyncio.get_running_loop().add_signal_handler(ROTATE, rotate)
    for interruption in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(interruption, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    terminal.say("souk", f"stopped; the data stays in {stack.data_dir}")


async def rotate_keys(stack: Stack, terminal: Terminal) -> None:
    """Rotate the key that signs sessions. What is in the way becomes a line of output."""
    try:
        await stack.rotate_keys()
    except (OSError, StartFailed) as error:
        terminal.say("souk", f"the key was not rotated: {error}")


async def keep_open(stack: Stack, terminal: Terminal) -> None:
    """Start the stack, print what runs where and what to do next, and keep it running until cancelled."""
    async with stack:
        steps = await next_steps(stack)
        await stack.quiet()
        for line in table(stack.supervisors.values()):
            terminal.say("souk", line)
        print(f"ready: http://localhost:{stack.gateway.port}", *steps, sep="\n", flush=True)
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
