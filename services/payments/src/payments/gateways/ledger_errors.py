"""What it means for a gateway that the database of its ledger is away."""

import contextlib
from collections.abc import Iterator

from common.mongo.client import AWAY
from payments.gateways.port import GatewayUnavailable


@contextlib.contextmanager
def away_is_unavailable() -> Iterator[None]:
    """Raise `GatewayUnavailable` while the database is away."""
    try:
        yield
    except AWAY as error:
        raise GatewayUnavailable("the gateway's ledger is away") from error
