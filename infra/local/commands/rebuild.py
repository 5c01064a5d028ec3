"""`python -m infra.local.commands.rebuild`: compare a projection with the streams; SWAP=1 repairs it."""

import os
import sys

from infra.local.commands.running import NothingRuns, run_as
from infra.local.env import Unusable

PROJECTIONS = {
    "items.sellers": "the names of who has signed up",
    "items.available": "what is left of each item, as its page shows it",
    "orders.stock": "the offer of each item, and how many units its orders have",
    "expiration.deadlines": "when each hold ends",
    "payments.dues": "what is due for each order",
    "audit.events": "the log of every event",
}
"""Each is rebuilt by the service that is named first, with that service's own code and credentials."""


def main() -> int:
    """Return the exit code: 1 if something differs, 2 with a sentence where that could not be found out."""
    name = os.environ.get("PROJECTION") or ""
    if name not in PROJECTIONS:
        if name:
            print(f"there is no projection {name}", file=sys.stderr)
        print("make rebuild PROJECTION=... [SWAP=1], one of:")
        for known, what in PROJECTIONS.items():
            print(f"  {known:<22}{what}")
        return 2 if name else 0
    service = name.partition(".")[0]
    swap = ["--swap"] if os.environ.get("SWAP") in {"1", "true", "yes"} else []
    try:
        return run_as(service, f"{service}.projections", name, *swap)
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
