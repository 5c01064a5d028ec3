"""`python -m infra.local.commands.operator`: make EMAIL an operator of the running stack; REVOKE=1 takes it away."""

import os
import sys

from infra.local.commands.running import NothingRuns, run_as
from infra.local.env import Unusable


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    email = os.environ.get("EMAIL")
    if not email:
        print("say who: make operator EMAIL=ola@souk.test", file=sys.stderr)
        return 1
    try:
        return run_as("auth", "auth.grant", email, *(["--revoke"] if os.environ.get("REVOKE") else []))
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
