"""An entry of the event log: an event exactly as it was published. No I/O.

Nothing in an entry depends on when it was stored, so a log that is read again from the streams is identical.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from common.bus.message import Message
from common.clock import whole_milliseconds
from common.errors import NotFound

KEYS = ("order_id", "item_id", "payment_id", "buyer_id", "seller_id", "user_id")
"""Ids by which an entry is found."""

FOLDED = ("email", "title")
"""Texts by which an entry is found, in any case."""

MAX_KEY_LENGTH = 300
"""Characters. Ids, email addresses and titles are never longer."""


class OrderNotFound(NotFound):
    """No event is about this order."""

    code = "order_not_found"


class ItemNotFound(NotFound):
    """No event is about this item."""

    code = "item_not_found"


class PaymentNotFound(NotFound):
    """No event is about this payment."""

    code = "payment_not_found"


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as it is in its stream, whether or not it is a valid event. It is found by its `keys`."""

    id: str
    stream: str
    sequence: int
    subject: str
    time: datetime
    source: str
    caused_by: str | None
    request_id: str | None
    traceparent: str | None
    body: str
    keys: Mapping[str, str]

    @classmethod
    def of(cls, message: Message) -> Self:
        """The entry of a message. A message that comes twice is one entry, because the event's id is the entry's."""
        headers, body = message.headers, text_of(message.body)
        return cls(
            id=id_of(headers, message.stream, message.sequence),
            stream=message.stream,
            sequence=message.sequence,
            subject=message.subject,
            time=moment(headers.get("ce-time"), message.time),
            source=headers.get("ce-source", "").rpartition("/")[2] or message.subject.partition(".")[0],
            caused_by=headers.get("ce-causationid"),
            request_id=headers.get("ce-requestid"),
            traceparent=headers.get("traceparent"),
            body=body,
            keys=keys_of(body),
        )

    def to_message(self) -> Message:
        """The message again, for a stream that lost it. It has the same entry."""
        headers = {
            "Nats-Msg-Id": self.id,
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.subject,
            "ce-source": f"/souk/{self.source}",
            "ce-time": self.time.isoformat(),
            "content-type": "application/json",
            "traceparent": self.traceparent,
            "ce-requestid": self.request_id,
            "ce-causationid": self.caused_by,
        }
        known = {name: value for name, value in headers.items() if value is not None}
        return Message(self.stream, self.sequence, self.subject, self.time, known, self.body.encode())

    def to_document(self) -> dict[str, Any]:
        """The document to store. Fields that are None are left out."""
        flat = {name: value for name, value in asdict(self).items() if value is not None and name != "keys"}
        return {"_id": flat.pop("id"), **flat, **self.keys}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The entry of a stored document."""
        names = ("stream", "sequence", "subject", "time", "source", "caused_by", "request_id", "traceparent", "body")
        keys = {name: document[name] for name in (*KEYS, *FOLDED) if name in document}
        return cls(id=document["_id"], keys=keys, **{name: document.get(name) for name in names})  # type: ignore[arg-type]


def id_of(headers: Mapping[str, str], stream: str, sequence: int) -> str:
    """The event's id, or else the message's place in its stream."""
    return headers.get("ce-id") or f"{stream}:{sequence}"


def text_of(body: bytes) -> str:
    """The body as text. Bytes that are not UTF-8 are escaped."""
    return body.decode("utf-8", "backslashreplace")


def fields_in(body: str) -> dict[str, Any] | None:
    """The fields of a body that is a JSON object; None for any other body, or if it is not valid Unicode."""
    fields = _parsed(body)
    return fields if _is_text(json.dumps(fields, ensure_ascii=False)) else None


def keys_of(body: str) -> dict[str, str]:
    """The keys in a body, also if it is not a valid event."""
    fields = _parsed(body) or {}
    found = {name: fields[name] for name in (*KEYS, *FOLDED) if isinstance(fields.get(name), str)}
    return {k: v.lower() if k in FOLDED else v for k, v in found.items() if len(v) <= MAX_KEY_LENGTH and _is_text(v)}


def _parsed(body: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _is_text(text: str) -> bool:
    """Whether it can be encoded: JSON may contain half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def moment(text: str | None, otherwise: datetime) -> datetime:
    """The time in a header, in whole milliseconds; `otherwise` if there is none or it is not valid."""
    try:
        time = datetime.fromisoformat(text) if text else otherwise
    except ValueError:
        time = otherwise
    return whole_milliseconds(time if time.tzinfo else otherwise)
