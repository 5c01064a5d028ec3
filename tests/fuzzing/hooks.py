"""What schemathesis is told about Souk that no document can say."""

import json
import os
import re
from typing import Any

import schemathesis

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

BEYOND_SCHEMAS = frozenset(
    {"email", "name", "new_email", "starts_at", "ends_at", "doors_at", "venue", "city", "timezone", "cursor"}
    | {"sale_starts_at", "sale_ends_at"}
)
"""Fields with rules that no schema can state: what an address is, which names mislead, what only an event has, that no
moment is before the year 2000, and of which order a list must be that a cursor continues.
"""

Case = schemathesis.Case[Any]

KNOWN: dict[str, str] = json.loads(os.environ.get("FUZZED_IDS", "{}"))
"""Ids of what exists, by the name of the parameter or field."""

AMBIGUOUS = frozenset("/\\;%?#\0")
"""Characters that the gateway refuses in a path, whatever the service (infra/local/stack/gateway.py)."""


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: Case, __: dict[str, Any]) -> None:
    """Ask for what exists half of the time, else for nothing that would not get past the gateway."""
    for name, value in (case.path_parameters or {}).items():
        if name in KNOWN and _half(value):
            case.path_parameters[name] = KNOWN[name]
        elif isinstance(value, str) and AMBIGUOUS & set(value):
            case.path_parameters[name] = "".join("_" if c in AMBIGUOUS else c for c in value)
    if isinstance(case.body, dict):
        case.body = {name: _likely(name, value) for name, value in case.body.items()}


def _likely(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_likely(name, each) for each in value]
    if isinstance(value, dict):
        return {field: _likely(field, each) for field, each in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)  # To JSON Schema 7.0 is an integer. To Souk it is not: a float never touches money.
    if isinstance(value, str) and value and not value.strip() and not CONTROL.search(value):
        return "text"  # Bodies are stripped: a length in a schema cannot say that.
    if name in KNOWN and isinstance(value, str) and 1 <= len(value) <= 64 and _half(value):
        return KNOWN[name]
    return value


def _half(value: object) -> bool:
    return len(str(value)) % 2 == 0


@schemathesis.check
def refuses_for_a_reason(_: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """What fits the document is not called malformed: a 400 or 422 then has a code of the business."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code not in {400, 422}:
        return
    if response.json()["code"] in {"validation_failed", "malformed_json", "bad_request"}:
        wrong = {error["field"] for error in response.json().get("errors", ())}
        if wrong and wrong <= BEYOND_SCHEMAS:
            return
        raise AssertionError(f"this fits the document, and is refused: {response.text}")
