"""`python -m infra.local.commands.rotate_keys`: sign the sessions of the running Souk with a new key."""

import os
import sys
import time

from infra.local.__main__ import ROTATE
from infra.local.commands.running import NothingRuns, running_stack
from infra.local.env import Unusable
from infra.local.stack.lock import owner
from infra.local.stack.stack import Stack

PATIENCE = 180.0
"""Seconds that starting all services again may take."""


def rotate(stack: Stack) -> bool:
    """Ask the process of a running stack for a new key; return whether it signs with one now."""
    before = stack.keys.public_jwk["kid"]
    os.kill(owner(stack.data_dir), ROTATE)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if stack.keys.public_jwk["kid"] != before and not stack.keys.rotating:
            return True
        time.sleep(0.1)
    return False


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    try:
        stack = running_stack()
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 1
    if not rotate(stack):
        print("the key was not rotated: see what `make dev` says", file=sys.stderr)
        return 1
    print("sessions are signed with a new key; the old one is forgotten at the first start after eleven minutes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
