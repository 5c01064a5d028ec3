"""Gates: where people with tickets of one event come in. No I/O."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from common.clock import whole_milliseconds
from common.errors import Conflict, Forbidden, NotFound

MOST_GATES = 100
"""Gates of an event."""


CLOSED = "this gate is closed; ask who sent you its link for another one"

TAKEN_LATER = timedelta(days=7)
"""How long after the closing of a gate a phone can still send what it has scanned there before."""


class GateNotFound(NotFound):
    """There is no such gate."""

    code = "gate_not_found"


class NotSeller(Forbidden):
    """Only the seller of an event opens and closes its gates."""

    code = "not_seller"


class TooManyGates(Conflict):
    """The event has the largest allowed number of gates."""

    code = "too_many_gates"


class GateClosed(Forbidden):
    """The link of the gate was never made, or its seller has closed it."""

    code = "gate_closed"


class Gate(BaseModel):
    """A gate of an event. Its id is the SHA-256 of the token in its link, which only the people at the gate have."""

    model_config = ConfigDict(frozen=True)

    id: str
    item_id: str
    name: str
    opened_at: datetime
    closed_at: datetime | None = None

    def check_open(self) -> None:
        """Raises `GateClosed`."""
        if self.closed_at:
            raise GateClosed(CLOSED)

    def check_takes(self, scanned_at: datetime, now: datetime) -> None:
        """Whether it takes what was scanned without a network. Raises `GateClosed`."""
        if self.closed_at and (whole_milliseconds(scanned_at) > self.closed_at or now > self.closed_at + TAKEN_LATER):
            raise GateClosed(CLOSED)
