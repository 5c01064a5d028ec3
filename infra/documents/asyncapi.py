"""The AsyncAPI document: every event, who publishes it and who reads it."""

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

from common.bus.envelope import Envelope
from common.events import EVENTS, Event
from common.http.sessions import ANNOUNCED
from infra.bus import durables
from infra.services import ROOT, SERVICES

Json = dict[str, Any]

EXAMPLES = ROOT / "tests/contracts"
"""One frozen message for each event."""

TEXT: Json = {"type": "string"}
HEADERS: Json = {
    "Nats-Msg-Id": {**TEXT, "description": "The event's id: the server drops what is published again."},
    "ce-specversion": {"const": "1.0"},
    "ce-id": {**TEXT, "description": "The event's id."},
    "ce-type": TEXT,
    "ce-source": TEXT,
    "ce-time": {**TEXT, "format": "date-time", "description": "When it happened."},
    "content-type": {"const": "application/json"},
    "traceparent": {**TEXT, "description": "W3C Trace Context of the request or event that caused it."},
    "ce-requestid": {**TEXT, "description": "The request that caused it."},
    "ce-causationid": {**TEXT, "description": "The event that caused it, if one did."},
}
"""The attributes of CloudEvents 1.0 in the binary mode of its NATS binding, and three of ours."""

DESCRIPTION = """\
What Souk's services tell each other over NATS JetStream: CloudEvents 1.0 in binary mode, at least once, in any order.
An event may get new fields with a default; the fields that it has never change.
"""


def readers(subject: str) -> set[str]:
    """The services that read an event: with a durable consumer of its own, or by listening to what is new."""
    event = EVENTS[subject]
    found = {durable.service for durable in durables() if durable.subject == subject}
    if event in ANNOUNCED:
        found |= {service.name for service in SERVICES if event.stream in service.listens}
    if any(event in listened for listened in importlib.import_module("web.live.updates").LISTENED):
        found.add("web")
    return found | {durable.service for durable in durables() if durable.subject == f"{event.stream.lower()}.>"}


def owner(subject: str) -> str:
    """The service that publishes an event."""
    [name] = [service.name for service in SERVICES if service.publishes == subject.partition(".")[0]]
    return name


def asyncapi() -> Json:
    """The document."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Souk's events", "version": "1", "description": DESCRIPTION, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "channels": {subject: _channel(subject, event) for subject, event in EVENTS.items()},
        "operations": {name: operation for subject in EVENTS for name, operation in _operations(subject)},
        "components": {
            "messages": {event.__name__: _message(subject, event) for subject, event in EVENTS.items()},
            "schemas": _schemas(),
        },
    }


def _channel(subject: str, event: type[Event]) -> Json:
    return {
        "address": subject,
        "messages": {event.__name__: {"$ref": f"#/components/messages/{event.__name__}"}},
        "x-stream": event.stream,
    }


def _operations(subject: str) -> Iterator[tuple[str, Json]]:
    def operation(service: str, action: str) -> Json:
        return {"action": action, "channel": {"$ref": f"#/channels/{subject}"}, "tags": [{"name": service}]}

    publisher = owner(subject)
    yield f"{publisher} publishes {subject}", operation(publisher, "send")
    for reader in sorted(readers(subject)):
        yield f"{reader} reads {subject}", operation(reader, "receive")


def _message(subject: str, event: type[Event]) -> Json:
    payload = json.loads((EXAMPLES / f"{subject}.json").read_text())
    source = Envelope.of(event.model_validate(payload), event_id="").headers(owner(subject))["ce-source"]
    own = {"ce-type": {"const": subject}, "ce-source": {"const": source}}
    text = re.sub(r" Owner: \w+\.", "", " ".join((event.__doc__ or "").split("\n\n")[0].split()))
    return {
        "name": subject,
        "title": event.__name__,
        "summary": text,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": [name for name in HEADERS if name != "ce-causationid"],
            "properties": HEADERS | own,
        },
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "examples": [{"name": subject, "payload": payload}],
    }


def _schemas() -> Json:
    found: Json = {}
    for event in EVENTS.values():
        schema = event.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[event.__name__] = schema
    return found
