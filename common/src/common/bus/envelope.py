"""The envelope of an event: CloudEvents 1.0 in binary mode of its NATS binding.

The attributes are `ce-` headers and the event is the JSON body. `Nats-Msg-Id` is the event's id, so the server drops an
event that is published again within its deduplication window.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from common.events import Event
from common.ids import new_id
from common.telemetry import Cause, current_cause


@dataclass(frozen=True, slots=True)
class Envelope:
    """The CloudEvents attributes of an event, and its body."""

    id: str
    subject: str
    time: datetime
    body: str
    cause: Cause

    @classmethod
    def of(cls, event: Event, cause: Cause | None = None, event_id: str | None = None) -> "Envelope":
        """Wrap an event that happens now. Without `cause`, the current one is its cause."""
        return cls(
            event_id or new_id(), event.subject, datetime.now(UTC), event.model_dump_json(), cause or current_cause()
        )

    def to_document(self) -> dict[str, Any]:
        """The form in which a `pending` array stores it."""
        return {
            "id": self.id,
            "subject": self.subject,
            "time": self.time,
            "body": self.body,
            "request_id": self.cause.request_id,
            "traceparent": self.cause.traceparent,
            "caused_by": self.cause.event_id,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Envelope":
        """Read one from a `pending` array."""
        cause = Cause(document["request_id"], document["traceparent"], document["caused_by"])
        return cls(document["id"], document["subject"], document["time"], document["body"], cause)

    def headers(self, source: str) -> dict[str, str]:
        """The message's headers. `ce-requestid` and `ce-causationid` are Souk's extension attributes."""
        headers = {
            "Nats-Msg-Id": self.id,
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.subject,
            "ce-source": f"/souk/{source}",
            "ce-time": self.time.isoformat(),
            "content-type": "application/json",
            "traceparent": self.cause.traceparent,
            "ce-requestid": self.cause.request_id,
        }
        if self.cause.event_id:
            headers["ce-causationid"] = self.cause.event_id
        return headers
