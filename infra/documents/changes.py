"""What a new document breaks for those who rely on the old one, each in a sentence. What is added breaks nobody.

A caller relies on what it may send and on what it gets; a reader of events relies on what it gets.
"""

from collections.abc import Iterator
from typing import Any, Literal

from infra.documents.openapi import operations

Json = dict[str, Any]
Direction = Literal["sent", "got"]

UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
EXACT = ("pattern", "format", "const")


def broken_calls(old: Json, new: Json) -> Iterator[str]:
    """What callers of the API lose. Pages for people are no contract."""
    now = operations(new)
    for name, before in operations(old).items():
        if "/api/" not in name:
            continue
        if name not in now:
            yield f"{name} is gone"
            continue
        after = now[name]
        if _open(before) and not _open(after):
            yield f"{name} needs a session now"
        yield from _parameters(name, old, new, before, after)
        yield from _body(name, old, new, before, after)
        yield from _responses(name, old, new, before, after)


def broken_events(old: Json, new: Json) -> Iterator[str]:
    """What readers of events lose."""
    for subject, channel in old["channels"].items():
        if subject not in new["channels"]:
            yield f"the event {subject} is gone"
            continue
        [before], [after] = (
            [_resolved(document, message) for message in one["messages"].values()]
            for document, one in ((old, channel), (new, new["channels"][subject]))
        )
        comparison = Comparison(old, new, "got")
        yield from comparison.differences(before["payload"], after["payload"], subject)
        yield from comparison.differences(before["headers"], after["headers"], f"the headers of {subject}")
    for name, operation in old["operations"].items():
        if operation["action"] == "send" and name not in new["operations"]:
            yield f"no longer: {name}"


def _open(operation: Json) -> bool:
    return not operation.get("security") or {} in operation["security"]


def _parameters(name: str, old: Json, new: Json, before: Json, after: Json) -> Iterator[str]:
    was = {(one["in"], one["name"]): one for one in before.get("parameters", ())}
    now = {(one["in"], one["name"]): one for one in after.get("parameters", ())}
    for where, parameter in was.items():
        told = f"{name}: the parameter {where[1]}"
        if where not in now:
            yield f"{told} is gone"
        else:
            yield from Comparison(old, new, "sent").differences(parameter["schema"], now[where]["schema"], told)
    for where, parameter in now.items():
        if parameter.get("required") and not was.get(where, {}).get("required"):
            yield f"{name}: the parameter {where[1]} is required now"


def _body(name: str, old: Json, new: Json, before: Json, after: Json) -> Iterator[str]:
    was, now = before.get("requestBody"), after.get("requestBody")
    if now and now.get("required") and not (was or {}).get("required"):
        yield f"{name}: a body is required now"
    for media, content in (was or {}).get("content", {}).items():
        if media not in (now or {}).get("content", {}):
            yield f"{name} no longer takes {media}"
        else:
            schema = now["content"][media].get("schema", {})  # type: ignore[index]
            yield from Comparison(old, new, "sent").differences(content.get("schema", {}), schema, f"{name}: the body")


def _responses(name: str, old: Json, new: Json, before: Json, after: Json) -> Iterator[str]:
    for status, response in before["responses"].items():
        is_good = status.startswith(("2", "3"))
        was = _resolved(old, response)
        if status not in after["responses"]:
            yield f"{name} no longer answers {status}"
            continue
        now = _resolved(new, after["responses"][status])
        for media, content in was.get("content", {}).items():
            if media not in now.get("content", {}):
                yield f"{name} no longer answers {status} with {media}"
            elif is_good:
                schemas = content.get("schema", {}), now["content"][media].get("schema", {})
                yield from Comparison(old, new, "got").differences(*schemas, f"{name}: the answer {status}")
            elif lost := _codes(content) - _codes(now["content"][media]):
                yield f"{name}: {status} has no longer the code {', '.join(sorted(lost))}"


def _codes(content: Json) -> set[str]:
    return set(content["schema"].get("properties", {}).get("code", {}).get("enum", ()))


def _resolved(document: Json, value: Json) -> Json:
    while reference := value.get("$ref"):
        value = document
        for step in reference.removeprefix("#/").split("/"):
            value = value[step]
    return value


class Comparison:
    """Compares two JSON schemas, for what is `sent` to Souk or `got` from it."""

    def __init__(self, old: Json, new: Json, direction: Direction) -> None:
        self._old, self._new, self._sent = old, new, direction == "sent"
        self._seen: list[tuple[Json, Json]] = []

    def differences(self, old: Json, new: Json, where: str) -> Iterator[str]:
        """A sentence for each thing that the new schema breaks."""
        if (old, new) in self._seen:
            return  # Schemas may contain themselves.
        self._seen.append((old, new))
        was, now = _by_type(self._old, old), _by_type(self._new, new)
        lost, gained = _types_lost(was, now), _types_lost(now, was)
        if self._sent and lost:
            yield f"{where} may no longer be {' or '.join(lost)}"
        if not self._sent and gained:
            yield f"{where} may be {' or '.join(gained)} now"
        for kind in was.keys() & now.keys():
            yield from self._same_type(was[kind], now[kind], where)
        self._seen.pop()

    def _same_type(self, old: Json, new: Json, where: str) -> Iterator[str]:
        if gone := _values(old) - _values(new if "enum" in new else old):
            yield f"{where} may no longer be {', '.join(sorted(gone))}"
        if self._sent:
            yield from _narrowed(old, new, where)
        elif "const" in old and old["const"] != new.get("const"):
            yield f"{where} is no longer {old['const']}"
        yield from self._properties(old, new, where)
        for inner in ("items", "additionalProperties"):
            if isinstance(old.get(inner), dict) and isinstance(new.get(inner), dict):
                yield from self.differences(old[inner], new[inner], f"{where}: each entry")

    def _properties(self, old: Json, new: Json, where: str) -> Iterator[str]:
        was, now = old.get("properties", {}), new.get("properties", {})
        must, will = set(old.get("required", ())), set(new.get("required", ()))
        for name in was:
            if name not in now:
                yield f"{where}: the field {name} is gone"
            else:
                yield from self.differences(was[name], now[name], f"{where}: the field {name}")
        if self._sent:
            yield from (f"{where}: the field {name} is required now" for name in sorted(will - must))
        else:
            yield from (f"{where}: the field {name} may be missing now" for name in sorted((must - will) & set(now)))


def _narrowed(old: Json, new: Json, where: str) -> Iterator[str]:
    if "enum" in new and "enum" not in old:
        yield f"{where} must be one of {', '.join(map(str, new['enum']))} now"
    for bound in UPPER:
        if bound in new and new[bound] < old.get(bound, float("inf")):
            yield f"{where} has a smaller {bound} now: {new[bound]}"
    for bound in LOWER:
        if bound in new and new[bound] > old.get(bound, 0 if bound.endswith(("Length", "Items")) else float("-inf")):
            yield f"{where} has a larger {bound} now: {new[bound]}"
    for bound in EXACT:
        if bound in new and new[bound] != old.get(bound):
            yield f"{where} has another {bound} now: {new[bound]}"


def _by_type(document: Json, schema: Json) -> dict[str, Json]:
    """The alternatives of a schema by their JSON type; `anything` for one without."""
    schema = _resolved(document, schema)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return {kind: one for each in schema[several] for kind, one in _by_type(document, each).items()}
    if "allOf" in schema:
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for part in schema["allOf"]:
            merged = {**_resolved(document, part), **merged}
        return _by_type(document, merged)
    kinds = schema.get("type") or _type_of_values(schema)
    return dict.fromkeys([kinds] if isinstance(kinds, str) else kinds, schema)


def _values(schema: Json) -> set[str]:
    return {str(value) for value in schema.get("enum", ())}


def _type_of_values(schema: Json) -> str:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values and all(isinstance(value, str) for value in values):
        return "string"
    return "object" if "properties" in schema else "anything"


def _types_lost(was: dict[str, Json], now: dict[str, Json]) -> list[str]:
    """The types of `was` that `now` does not have. Every integer is a number, and anything is anything."""
    wider = {"integer": "number"}
    return [kind for kind in was if "anything" not in now and kind not in now and wider.get(kind) not in now]
