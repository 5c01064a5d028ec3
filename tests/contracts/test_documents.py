"""The documents of the API say everything that somebody who calls it needs, and web serves them as the code has them.

Which answers are documented is checked wherever a service answers in a test (tests/support/documented.py).
"""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from common.events import EVENTS
from infra.documents.__main__ import SERVED, documents
from infra.documents.asyncapi import asyncapi, owner, readers
from infra.documents.openapi import openapi, operations, service_document
from infra.services import NAMES

Json = dict[str, Any]

DOCUMENT = openapi()
OPERATIONS = {name: one for name, one in operations(DOCUMENT).items() if "text/html" not in str(one["responses"])}
"""Of the API. Pages are for people."""

SAYS_ENOUGH = {"enum", "const", "default", "example", "examples", "format"}


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
def test_web_serves_what_the_code_says(name: str) -> None:
    assert (SERVED / name).read_text() == documents()[name], "run `make documents` and commit what it writes"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_says_what_it_does(name: str) -> None:
    assert OPERATIONS[name].get("description"), f"{name}: write a docstring"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_parameter_is_described(name: str) -> None:
    for parameter in OPERATIONS[name].get("parameters", ()):
        what = f"{name}: the parameter {parameter['name']}"
        add = 'Annotated[..., Path(description="...", examples=[...])]'
        assert parameter.get("description"), f"{what} has no description: add {add}"
        is_text = parameter["schema"].get("type") == "string"
        enough = not is_text or SAYS_ENOUGH & (set(parameter) | set(parameter["schema"]))
        assert enough, f"{what} has no example: add {add}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_body_has_an_example(name: str) -> None:
    for content in OPERATIONS[name].get("requestBody", {}).get("content", {}).values():
        if "example" not in content:
            for field in _without_example(content["schema"]):
                raise AssertionError(f"{name}: {field} has no example: add Field(examples=[...])")


def _without_example(schema: Json, name: str = "the body") -> Iterator[str]:
    schema = _resolved(schema)
    if SAYS_ENOUGH & set(schema):
        return
    for several in ("anyOf", "allOf"):
        for each in schema.get(several, ()):
            yield from _without_example(each, name)
    for field, inner in schema.get("properties", {}).items():
        yield from _without_example(inner, f"the field {field}")
    if "items" in schema:
        yield from _without_example(schema["items"], name)
    if schema.get("type") == "string":
        yield name


def _resolved(value: Json) -> Json:
    while reference := value.get("$ref"):
        value = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            value = value[step]
    return value


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_error_is_a_problem_with_its_codes(name: str) -> None:
    for status, response in OPERATIONS[name]["responses"].items():
        if status.startswith(("4", "5")) and not name.startswith("GET /static"):
            schema = _resolved(response)["content"]["application/problem+json"]["schema"]
            assert schema["properties"]["code"]["enum"], f"{name}: {status} has no code"
        elif status == "422":
            raise AssertionError(f"{name}: 422 is FastAPI's own")


@pytest.mark.parametrize("name", OPERATIONS)
def test_who_has_no_session_is_told_so(name: str) -> None:
    security = OPERATIONS[name].get("security", [])
    needed = bool(security) and {} not in security
    assert ("401" in OPERATIONS[name]["responses"]) >= needed, f"{name} needs a session, and does not answer 401"


@pytest.mark.parametrize("service", NAMES)
def test_every_service_contributes(service: str) -> None:
    assert set(service_document(service)["paths"]) <= set(DOCUMENT["paths"])


def test_pages_are_no_json() -> None:
    for path, methods in service_document("web")["paths"].items():
        for method, operation in methods.items():
            answered = {media for response in operation["responses"].values() for media in response.get("content", ())}
            assert "application/json" not in answered or "/api/" in path, f"{method} {path}"


def test_the_webhook_names_its_signature_and_body() -> None:
    webhook = OPERATIONS["POST /api/payments/webhook"]
    assert {p["name"] for p in webhook["parameters"]} == {"Stripe-Signature", "Sandbox-Signature"}
    assert "application/json" in webhook["requestBody"]["content"]


def test_every_event_has_a_publisher_its_readers_and_an_example() -> None:
    document = asyncapi()
    assert set(document["channels"]) == set(EVENTS)
    for subject, event in EVENTS.items():
        wanted = {f"{owner(subject)} publishes {subject}"} | {f"{name} reads {subject}" for name in readers(subject)}
        found = {name for name in document["operations"] if name.endswith(f" {subject}")}
        assert found == wanted
        [example] = document["components"]["messages"][event.__name__]["examples"]
        schema = {"$ref": f"#/components/schemas/{event.__name__}", "components": document["components"]}
        written = json.loads(event.model_validate(example["payload"]).model_dump_json())
        jsonschema.validate(written, schema)
