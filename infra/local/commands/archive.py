"""`python -m infra.local.commands.archive`: old events of the running Souk leave their streams for audit's log.

As the user of the bus who may remove events, with the database of audit. `DRY=1` only says what would leave, and
`ARCHIVE_DAYS` how old an event has to be. It is safe to run at any time, and again.
"""

import os
import sys

from infra.bus import PROVISIONER
from infra.local.commands.running import NothingRuns, run_as, running_stack
from infra.local.env import Unusable


def main() -> int:
    """Return the exit code: 1 if audit's log lacks an old event, 2 with a sentence if a server is away."""
    dry = ["--dry"] if os.environ.get("DRY") else []
    try:
        stack = running_stack()
        return run_as("audit", "audit.archive", *dry, stack=stack, NATS_URL=stack.nats_url(PROVISIONER))
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
