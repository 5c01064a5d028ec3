"""`python -m infra.local.commands.republish`: after the bus lost its streams, publish what is still known.

First audit's log goes back into the streams, as the user of the bus who may create streams; then the provisioning step
creates the other streams and the durables; then each service publishes what its database says and its stream lacks. It
is safe to run at any time, and again.
"""

import asyncio
import sys
import time

from common.bus.connection import BusError
from common.bus.provision import Refused, provision
from infra.bus import PROVISIONER, durables
from infra.local.commands.running import NothingRuns, run_as, running_stack
from infra.local.env import Unusable
from infra.local.stack.stack import Stack

OWNERS = ("auth", "items", "orders", "payments", "tickets", "audit")
"""The services that own documents, each with a module `republish`."""


def republish(stack: Stack) -> int:
    """Publish everything again; return the exit code of the first step that failed, or 0."""
    began = time.monotonic()
    if code := run_as("audit", "audit.refill", stack=stack, NATS_URL=stack.nats_url(PROVISIONER)):
        return code
    asyncio.run(provision(stack.nats_url(PROVISIONER), durables(), stack.stream_copies))
    for service in OWNERS:
        if code := run_as(service, f"{service}.republish", stack=stack):
            return code
    print(f"all is published again, after {time.monotonic() - began:.1f} s: check it with `make reconcile`")
    return 0


def main() -> int:
    """Return the exit code: 2 with a sentence if no Souk runs or a server is away."""
    try:
        return republish(running_stack())
    except (BusError, NothingRuns, Refused, Unusable) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
