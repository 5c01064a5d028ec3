"""The documents of the API, as they were when this release was made (docs/decisions/api-documents.md)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "documents"

Json = Mapping[str, Any]


@dataclass(frozen=True)
class FieldLine:
    """A field of an event: its JSON type or the values that it may have, and what it means."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class EventLine:
    """An event as its page shows it."""

    subject: str
    title: str
    text: str
    publisher: str
    readers: Sequence[str]
    fields: Sequence[FieldLine]
    example: str


class Documents:
    """OpenAPI for callers, AsyncAPI for readers of events: read once, when the process starts."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.texts = {path.name: path.read_bytes() for path in folder.glob("*.json")}
        document: Json = json.loads(self.texts["asyncapi.json"])
        self.event_headers = tuple(_header_lines(document))
        self.streams: dict[str, list[EventLine]] = {}
        for subject, channel in document["channels"].items():
            self.streams.setdefault(channel["x-stream"], []).append(_event(document, subject, channel))


def _event(document: Json, subject: str, channel: Json) -> EventLine:
    [name] = channel["messages"]
    message = document["components"]["messages"][name]
    schema = document["components"]["schemas"][name]
    return EventLine(
        subject=subject,
        title=name,
        text=message["summary"],
        publisher=" ".join(_services(document, subject, "send")),
        readers=list(_services(document, subject, "receive")),
        fields=[
            FieldLine(field, _kind(document, inner), inner.get("description", ""))
            for field, inner in schema["properties"].items()
        ],
        example=json.dumps(message["examples"][0]["payload"], indent=2, ensure_ascii=False),
    )


def _services(document: Json, subject: str, action: str) -> Iterator[str]:
    for operation in document["operations"].values():
        if operation["action"] == action and operation["channel"]["$ref"] == f"#/channels/{subject}":
            yield operation["tags"][0]["name"]


def _header_lines(document: Json) -> Iterator[FieldLine]:
    message = next(iter(document["components"]["messages"].values()))
    for name, schema in message["headers"]["properties"].items():
        text = schema.get("description") or f"Here {schema['const']}."
        yield FieldLine(name, schema.get("type", "string"), text)


def _kind(document: Json, schema: Json) -> str:
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    if "anyOf" in schema:
        return " or ".join(_kind(document, each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if "items" in schema:
        return f"list of {_kind(document, schema['items'])}"
    return str(schema.get("format") or schema.get("type") or schema.get("const"))
