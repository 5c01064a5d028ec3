"""`python -m infra.local.commands.unname`: take names and addresses out of the events of revisions before.

Then the provisioning step creates the durables of the stream that was written anew.
"""

import asyncio
import sys

from common.bus.connection import BusError
from common.bus.provision import Refused, provision
from infra.bus import PROVISIONER, durables
from infra.local.commands.running import NothingRuns, run_as, running_stack
from infra.local.env import Unusable
from infra.local.stack.stack import Stack


def unname(stack: Stack) -> int:
    """Return the exit code of the step that failed, or 0."""
    if code := run_as("audit", "audit.unname", stack=stack, NATS_URL=stack.nats_url(PROVISIONER)):
        return code
    asyncio.run(provision(stack.nats_url(PROVISIONER), durables(), stack.stream_copies))
    return 0


def main() -> int:
    """Return the exit code: 2 with a sentence if no Souk runs or a server is away."""
    try:
        return unname(running_stack())
    except (BusError, NothingRuns, Refused, Unusable) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
