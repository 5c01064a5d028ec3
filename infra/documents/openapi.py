"""One OpenAPI document, merged from those of all services."""

import copy
import importlib
import re
from typing import Any

from infra.services import NAMES

Json = dict[str, Any]

DESCRIPTION = """\
A market: hold an item, pay for it, and it is yours.

- Sign in at `/api/users/signin` and keep the cookies, or send the access token as `Authorization: Bearer`.
- What goes wrong is `application/problem+json` (RFC 9457) with a `code` that never changes.
- Lists come in pages: `next` is the `cursor` of the next page, null on the last.
- Amounts are whole numbers in the currency's smallest unit.
- What services tell each other is described [on a page of its own](/api/docs/events).
"""


def service_document(name: str) -> Json:
    """The document of one service, as it answers at its `/openapi.json`."""
    document: Json = copy.deepcopy(importlib.import_module(f"{name}.main").app.openapi())
    return document


def openapi() -> Json:
    """The document of all services."""
    merged: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Souk", "version": "1", "description": DESCRIPTION, "license": {"name": "MIT"}},
        "servers": [{"url": "/"}],
        "paths": {},
        "components": {"schemas": {}, "securitySchemes": {}},
    }
    for name in NAMES:
        document = _with_own_names(service_document(name), name, merged["components"]["schemas"])
        if taken := set(document["paths"]) & set(merged["paths"]):
            raise ValueError(f"{name} has a path that an earlier service has too: {sorted(taken)}")
        merged["paths"] |= document["paths"]
        for kind, entries in document.get("components", {}).items():
            merged["components"].setdefault(kind, {}).update(entries)
    _share_problems(merged)
    return merged


def _share_problems(document: Json) -> None:
    """Say once what many operations answer: a third of the document."""
    shared: Json = document["components"].setdefault("responses", {})
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            if problem := response.get("content", {}).get("application/problem+json"):
                name = "_".join(problem["schema"]["properties"]["code"]["enum"])
                if shared.setdefault(name, response) == response:
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def _with_own_names(document: Json, service: str, taken: Json) -> Json:
    """The document, with another name for each schema whose name an earlier service has for something else."""
    schemas: Json = document.get("components", {}).get("schemas", {})
    renamed = {
        name: f"{service.title()}{name}" for name, schema in schemas.items() if taken.get(name, schema) != schema
    }
    if not renamed:
        return document
    renamed_document: Json = _replaced(document, {f"#/components/schemas/{name}": new for name, new in renamed.items()})
    found = renamed_document["components"]["schemas"]
    renamed_document["components"]["schemas"] = {renamed.get(name, name): schema for name, schema in found.items()}
    return renamed_document


def _replaced(value: Any, references: dict[str, str]) -> Any:
    match value:
        case {"$ref": str(reference)} if reference in references:
            return {**value, "$ref": f"#/components/schemas/{references[reference]}"}
        case dict():
            return {name: _replaced(inner, references) for name, inner in value.items()}
        case list():
            return [_replaced(inner, references) for inner in value]
    return value


def operations(document: Json) -> dict[str, Json]:
    """Every operation by its method and path, such as `GET /api/items`."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if re.fullmatch("get|put|post|delete|patch", method)
    }
