"""The stack that runs already, for programs that ask it something."""

from infra.local.lock import in_use
from infra.local.stack import Stack
from infra.local.variables import data_dir, gateway_port, servers


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
