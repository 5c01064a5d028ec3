"""What audit keeps: each event as it was told. No I/O.

An entry holds nothing that depends on when it was kept, so a log that is read again from the streams is the same log.
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
"""Ids that an entry is found by."""

FOLDED = ("email", "title")
"""Texts that an entry is found by, in any case."""

LONGEST_KEY = 300
"""Letters; nothing longer was ever an id, an address or a title."""


class OrderNotFound(NotFound):
    """No event tells of such an order."""

    code = "order_not_found"


class ItemNotFound(NotFound):
    """No event tells of such an item."""

    code = "item_not_found"


class PaymentNotFound(NotFound):
    """No event tells of such a payment."""

    code = "payment_not_found"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it lies in its stream, whether or not anybody can read it. `keys` are what it is found by."""

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
        """The entry of a message. A message twice is one entry: its id is the event's."""
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

    def to_document(self) -> dict[str, Any]:
        """As Mongo keeps it. None means: not there."""
        flat = {name: value for name, value in asdict(self).items() if value is not None and name != "keys"}
        return {"_id": flat.pop("id"), **flat, **self.keys}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Back from Mongo."""
        names = ("stream", "sequence", "subject", "time", "source", "caused_by", "request_id", "traceparent", "body")
        keys = {name: document[name] for name in (*KEYS, *FOLDED) if name in document}
        return cls(id=document["_id"], keys=keys, **{name: document.get(name) for name in names})  # type: ignore[arg-type]


def id_of(headers: Mapping[str, str], stream: str, sequence: int) -> str:
    """The event's id; its place, where a message says nothing of itself."""
    return headers.get("ce-id") or f"{stream}:{sequence}"


def text_of(body: bytes) -> str:
    """The body as text; what is no UTF-8 in it is escaped."""
    return body.decode("utf-8", "backslashreplace")


def said_in(body: str) -> dict[str, Any] | None:
    """What a message says; None where it says nothing under names that could be passed on."""
    said = _parsed(body)
    return said if _is_text(json.dumps(said, ensure_ascii=False)) else None


def keys_of(body: str) -> dict[str, str]:
    """What a message is found by, also where it is no event that anybody can read."""
    said = _parsed(body) or {}
    told = {name: said[name] for name in (*KEYS, *FOLDED) if isinstance(said.get(name), str)}
    return {k: v.lower() if k in FOLDED else v for k, v in told.items() if len(v) <= LONGEST_KEY and _is_text(v)}


def _parsed(body: str) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _is_text(text: str) -> bool:
    """Whether it could be written down: JSON may hold half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def moment(text: str | None, otherwise: datetime) -> datetime:
    """The time in a header, in whole milliseconds; `otherwise` where there is none."""
    try:
        told = datetime.fromisoformat(text) if text else otherwise
    except ValueError:
        told = otherwise
    return whole_milliseconds(told if told.tzinfo else otherwise)
