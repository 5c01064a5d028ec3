"""Nothing that the last release's documents promise is broken. What a change breaks is said in a sentence."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.documents.__main__ import RELEASED
from infra.documents.asyncapi import asyncapi
from infra.documents.changes import broken_calls, broken_events
from infra.documents.openapi import openapi

Json = dict[str, Any]

CALLS: Json = json.loads((RELEASED / "openapi.json").read_text())
EVENTS: Json = json.loads((RELEASED / "asyncapi.json").read_text())

ACCEPT = "if this is a new major release, accept it: make release-documents"


def test_no_caller_of_the_last_release_is_broken() -> None:
    assert list(broken_calls(CALLS, openapi())) == [], ACCEPT


def test_no_reader_of_the_last_release_is_broken() -> None:
    assert list(broken_events(EVENTS, asyncapi())) == [], ACCEPT


def changed(document: Json, *steps: str, to: Callable[[Any], Any] | None = None) -> Json:
    """A copy of the document in which one value is gone, or is what `to` makes of it."""
    found = copy.deepcopy(document)
    inner = found
    for step in steps[:-1]:
        inner = inner[step]
    if to:
        inner[steps[-1]] = to(inner.get(steps[-1]))
    else:
        del inner[steps[-1]]
    return found


ORDER = ("components", "schemas", "OrderView")
NEW_ORDER = ("components", "schemas", "NewOrder")
PLACE = ("paths", "/api/orders", "post")
REFUND = ("paths", "/api/orders/{order_id}/refund", "post")


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (changed(CALLS, *PLACE), "POST /api/orders is gone"),
        (changed(CALLS, *ORDER, "properties", "total"), "POST /api/orders: the answer 201: the field total is gone"),
        (
            changed(CALLS, *ORDER, "required", to=lambda names: [n for n in names if n != "total"]),
            "POST /api/orders: the answer 201: the field total may be missing now",
        ),
        (
            changed(CALLS, *ORDER, "properties", "total", to=lambda _: {"type": "string"}),
            "POST /api/orders: the answer 201: the field total may be string now",
        ),
        (
            changed(CALLS, "components", "schemas", "OrderStatus", "enum", to=lambda values: values[1:]),
            "POST /api/orders: the answer 201: the field status may no longer be awaiting_payment",
        ),
        (
            changed(CALLS, *NEW_ORDER, "required", to=lambda names: [*names, "quantity"]),
            "POST /api/orders: the body: the field quantity is required now",
        ),
        (
            changed(CALLS, *NEW_ORDER, "properties", "quantity"),
            "POST /api/orders: the body: the field quantity is gone",
        ),
        (
            changed(CALLS, *NEW_ORDER, "properties", "quantity", "maximum", to=lambda _: 9),
            "POST /api/orders: the body: the field quantity has a smaller maximum now: 9",
        ),
        (
            changed(CALLS, *NEW_ORDER, "properties", "item_id", "minLength", to=lambda _: 2),
            "POST /api/orders: the body: the field item_id has a larger minLength now: 2",
        ),
        (
            changed(CALLS, *NEW_ORDER, "properties", "item_id", "pattern", to=lambda _: "^x$"),
            "POST /api/orders: the body: the field item_id has another pattern now: ^x$",
        ),
        (
            changed(CALLS, *NEW_ORDER, "properties", "item_id", "type", to=lambda _: "integer"),
            "POST /api/orders: the body: the field item_id may no longer be string",
        ),
        (
            changed(CALLS, *NEW_ORDER, "properties", "item_id", "enum", to=lambda _: ["a"]),
            "POST /api/orders: the body: the field item_id must be one of a now",
        ),
        (
            changed(CALLS, *PLACE, "requestBody", "content", to=lambda _: {"text/csv": {}}),
            "POST /api/orders no longer takes application/json",
        ),
        (changed(CALLS, *PLACE, "responses", "201"), "POST /api/orders no longer answers 201"),
        (
            changed(CALLS, *PLACE, "responses", "201", "content", to=lambda _: {"text/csv": {}}),
            "POST /api/orders no longer answers 201 with application/json",
        ),
        (
            changed(CALLS, *PLACE, "responses", "409", to=lambda _: CALLS["components"]["responses"]["order_not_paid"]),
            "POST /api/orders: 409 has no longer the code "
            "buyer_limit, hold_limit, item_paused, item_withdrawn, not_on_sale_yet, own_item, price_changed, "
            "sale_over, sold_out, total_hold_limit",
        ),
        (
            changed(CALLS, "paths", "/api/items", "get", "security", to=lambda _: [{"bearer": []}]),
            "GET /api/items needs a session now",
        ),
        (
            changed(CALLS, "paths", "/api/items", "get", "parameters", to=lambda parameters: parameters[1:]),
            "GET /api/items: the parameter q is gone",
        ),
        (
            changed(
                CALLS,
                *("paths", "/api/items", "get", "parameters"),
                to=lambda parameters: [{**parameters[0], "required": True}, *parameters[1:]],
            ),
            "GET /api/items: the parameter q is required now",
        ),
        (
            changed(
                CALLS, "paths", "/api/orders/{order_id}/refund", "post", "requestBody", to=lambda _: {"required": True}
            ),
            "POST /api/orders/{order_id}/refund: a body is required now",
        ),
    ],
)
def test_what_breaks_callers_is_found(after: Json, sentence: str) -> None:
    assert sentence in list(broken_calls(CALLS, after))


PLACED = ("components", "schemas", "OrderPlaced")


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (changed(EVENTS, "channels", "orders.placed"), "the event orders.placed is gone"),
        (changed(EVENTS, *PLACED, "properties", "buyer_id"), "orders.placed: the field buyer_id is gone"),
        (
            changed(EVENTS, *PLACED, "properties", "quantity", "type", to=lambda _: "string"),
            "orders.placed: the field quantity may be string now",
        ),
        (
            changed(EVENTS, "components", "schemas", "CancelReason", "enum", to=lambda values: values[:-1]),
            "orders.cancelled: the field reason may no longer be payment_failed",
        ),
        (
            changed(EVENTS, "operations", "orders publishes orders.placed"),
            "no longer: orders publishes orders.placed",
        ),
        (
            changed(
                EVENTS,
                *("components", "messages", "OrderPlaced", "headers", "properties", "ce-type"),
                to=lambda _: {"const": "orders.held"},
            ),
            "the headers of orders.placed: the field ce-type is no longer orders.placed",
        ),
    ],
)
def test_what_breaks_readers_is_found(after: Json, sentence: str) -> None:
    assert sentence in list(broken_events(EVENTS, after))


@pytest.mark.parametrize(
    "after",
    [
        changed(CALLS, *ORDER, "properties", "gift", to=lambda _: {"type": "boolean"}),
        changed(CALLS, *NEW_ORDER, "properties", "gift", to=lambda _: {"type": "boolean"}),
        changed(CALLS, *NEW_ORDER, "properties", "quantity", "maximum"),
        changed(CALLS, "paths", "/api/gifts", to=lambda _: CALLS["paths"]["/api/orders"]),
        changed(CALLS, "components", "schemas", "OrderStatus", "enum", to=lambda values: [*values, "given"]),
        changed(CALLS, *PLACE, "responses", "410", to=lambda _: {"description": "gone"}),
    ],
)
def test_what_is_added_breaks_nobody(after: Json) -> None:
    assert list(broken_calls(CALLS, after)) == []
