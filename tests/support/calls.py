"""Requests made from the OpenAPI document alone: its examples, with what really exists in the place of ids."""

from collections.abc import Mapping
from typing import Any

from infra.documents.openapi import openapi, operations

Json = dict[str, Any]

DOCUMENT = openapi()
API = {name: one for name, one in operations(DOCUMENT).items() if "/api/" in name}
"""Every operation that is for programs, by its method and path."""

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001"
    "f61738550000000049454e44ae426082"
)
"""A PNG of one pixel."""


def call(name: str, known: Mapping[str, str]) -> Json:
    """The arguments for `httpx.AsyncClient.request`. `known` has what stands for a parameter or field of this name."""
    method, _, path = name.partition(" ")
    operation = API[name]
    query = {}
    for parameter in operation.get("parameters", ()):
        value = known.get(parameter["name"], example(parameter["schema"]))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", value)
        elif parameter["in"] == "query" and parameter.get("required"):
            query[parameter["name"]] = value
    request: Json = {"method": method, "url": path, "params": query}
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        if media == "application/json":
            body = content.get("example") or example(content["schema"])
            return request | {"json": {field: known.get(field, value) for field, value in body.items()}}
        if media == "image/png":
            return request | {"content": PICTURE, "headers": {"Content-Type": media}}
    return request


def example(schema: Json) -> Any:
    """A value that fits: the example, the default, or the first of what is allowed."""
    while reference := schema.get("$ref"):
        schema = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
    match schema:
        case {"example": value} | {"examples": [value, *_]} | {"default": value} | {"enum": [value, *_]}:
            return value
        case {"anyOf": [first, *_]}:
            return example(first)
        case {"properties": fields}:
            return {name: example(field) for name, field in fields.items()}
        case {"type": "array", "items": each}:
            return [example(each)]
        case {"type": "integer", **bounds}:
            return int(bounds.get("minimum", 0))
        case {"type": "boolean"}:
            return False
    return "text"
