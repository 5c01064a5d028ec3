"""Gates: where people with tickets of one event come in. No I/O."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from common.errors import Conflict, Forbidden, NotFound

MOST_GATES = 100
"""Gates of an event."""


class EventNotFound(NotFound):
    """There is no such event."""

    code = "event_not_found"


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
