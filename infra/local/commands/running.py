"""The stack that is already running, for commands that work on it."""

import os
import subprocess
import sys

from infra.local.env import Env, read
from infra.local.stack.lock import in_use
from infra.local.stack.stack import Stack
from infra.services import ROOT


class NothingRuns(RuntimeError):
    """No stack is running. The message says how to start one."""


def running_stack() -> Stack:
    """Return the stack that runs on DATA_DIR and PORT. Raises `NothingRuns`, or `Unusable` for a bad variable."""
    env = read(Env)
    folder = env.data_dir.resolve()
    if not in_use(folder):
        raise NothingRuns(
            f"no Souk runs on the data in {folder}: start it with `make dev`, or name another with DATA_DIR=..."
        )
    return Stack(folder, env.port, servers=env.servers)


def run_as(service: str, *module: str, stack: Stack | None = None, **other: str) -> int:
    """Run a module of a service, with its arguments, as that service of a stack; return its exit code.

    Without a `stack`, it is the running one; then it raises what `running_stack` does. `other` settings replace the
    service's own.
    """
    env = (stack or running_stack()).env(service) | other
    return subprocess.run([sys.executable, "-m", *module], env={**os.environ, **env}, cwd=ROOT, check=False).returncode
