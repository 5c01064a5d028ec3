"""`python -m infra.local.commands.reconcile`: check all records of the running Souk, as its audit service."""

import sys

from infra.local.commands.running import NothingRuns, run_as
from infra.local.env import Unusable


def main() -> int:
    """Return the exit code: that of `audit.reconcile`, which reads GRACE and SINCE; 2 with a sentence if none runs."""
    try:
        return run_as("audit", "audit.reconcile")
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
