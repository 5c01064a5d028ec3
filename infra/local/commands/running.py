"""The stack that runs already, for programs that ask it something."""

import os
import subprocess
import sys

from infra.local.env import data_dir, gateway_port, servers
from infra.local.stack.lock import in_use
from infra.local.stack.services import ROOT
from infra.local.stack.stack import Stack


class NothingRuns(RuntimeError):
    """There is nobody to ask."""


def running_stack() -> Stack:
    """The stack that runs on DATA_DIR and PORT. Raises `NothingRuns`, or `Unusable` where a variable makes no sense."""
    folder = data_dir()
    if not in_use(folder):
        raise NothingRuns(
            f"no Souk runs on the data in {folder}: start it with `make dev`, or name another with DATA_DIR=..."
        )
    return Stack(folder, gateway_port(), servers=servers())


def run_as(service: str, *module: str) -> int:
    """Run a module of a service, with its arguments, as that service of the running stack; return its exit code.

    Raises what `running_stack` does.
    """
    variables = running_stack().env(service)
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, env={**os.environ, **variables}, cwd=ROOT, check=False).returncode
