"""The OpenAPI document of a service: FastAPI's, made true.

A route declares with `problems` what it raises itself. What its dependencies raise, and what the middleware and the
handlers of errors answer before or after it, is added here once for all. docs/decisions/api-documents.md says why.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from common.errors import TooMany, Unauthenticated, Unavailable
from common.http.dependencies import RAISED
from common.http.problems import CODES, codes_of
from common.http.sessions import COOKIE, REFRESH_COOKIE, optional_session, optional_user
from common.http.write_limit import SAFE

Json = dict[str, Any]
Codes = dict[int, dict[str, str]]
"""What each code of a problem means, by status."""

CROSS_SITE = {403: {"cross_site": "A browser says that a page of another site sent this. Nothing was changed."}}
BODY = {
    411: {"length_required": "The body came without a Content-Length."},
    413: {"too_large": "The body is larger than this route accepts."},
}
JSON_BODY = {400: {"malformed_json": "The body is not JSON.", "bad_request": "The body cannot be read."}}
INVALID = {422: {"validation_failed": "Some fields are wrong: `errors` names each with a message."}}

HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}},
    503: {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}},
}

PROBLEM: Json = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong (RFC 9457). `code` is stable and for programs, `detail` is for people.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string", "description": "The phrase of the status."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "code": {"type": "string", "description": "Which problem it is. It never changes."},
        "detail": {"type": "string", "description": "What went wrong this time, in English."},
        "errors": {
            "type": "array",
            "description": "With `validation_failed`: the fields that are wrong.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}

SCHEMES: Json = {
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The access token in the cookie that sign-in sets. With https its name is `__Host-session`.",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The same access token (JWT, EdDSA) as `Authorization: Bearer`. It lasts ten minutes.",
    },
    "refresh": {
        "type": "apiKey",
        "in": "cookie",
        "name": REFRESH_COOKIE,
        "description": "The refresh token in the cookie that sign-in sets. With https its name is `__Host-refresh`.",
    },
}
SESSION: list[Json] = [{"cookie": []}, {"bearer": []}]


PAGE: Json = {"content": {"text/html": {"schema": {"type": "string"}}}}
PAGES: Json = {
    "303": {"description": "Another page is next: after a form, or to sign in."},
    "4XX": {"description": "A page that says what is wrong.", **PAGE},
    "503": {"description": "A page that says that a part of Souk is away.", **PAGE},
}
"""What a route for people may answer besides its page. Problems become pages there."""


def complete(document: Json, routes: Sequence[BaseRoute], *, away: bool) -> Json:
    """FastAPI's document with the sessions and problems of every operation. With `away`, each may answer 503."""
    for route in iter_route_contexts(routes):
        for method in route.methods or ():
            if operation := document["paths"].get(route.path_format, {}).get(method.lower()):
                _complete(operation, method, route, away=away)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for framework in ("HTTPValidationError", "ValidationError"):
        schemas.pop(framework, None)
    schemas["Problem"] = PROBLEM
    document["components"].setdefault("securitySchemes", {}).update(SCHEMES)
    return document


def _complete(operation: Json, method: str, route: RouteContext, *, away: bool) -> None:
    for parameter in operation.get("parameters", ()):
        _drop_null(parameter)
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if any("text/html" in response.get("content", ()) for response in responses.values()):
        operation["responses"] = {**responses, **PAGES}
        return
    calls = set(_calls(route.dependant))
    raised = {kind for call in calls for kind in RAISED.get(call, ())}
    if any(issubclass(kind, Unauthenticated) for kind in raised):
        operation.setdefault("security", SESSION)
    elif calls & {optional_session, optional_user}:
        operation.setdefault("security", [{}, *SESSION])
    declared = {int(status): response.pop(CODES) for status, response in responses.items() if CODES in response}
    unavailable = codes_of(Unavailable) if away else {}
    for status, meanings in _merged([declared, codes_of(*raised), unavailable, *_around(operation, method, route)]):
        responses[str(status)] = _response(status, meanings)
    operation["responses"] = dict(sorted(responses.items()))


def _merged(several: Iterable[Codes]) -> Iterable[tuple[int, dict[str, str]]]:
    merged: Codes = {}
    for codes in several:
        for status, meanings in codes.items():
            merged.setdefault(status, {}).update(meanings)
    return merged.items()


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for dependency in dependant.dependencies:
        if dependency.call:
            yield dependency.call
        yield from _calls(dependency)


def _around(operation: Json, method: str, route: RouteContext) -> Iterator[Codes]:
    """What the middleware and the parsing of a request answer, where they can."""
    if method not in SAFE:
        yield CROSS_SITE
        yield codes_of(TooMany)
    if "requestBody" in operation:
        yield BODY
    if route.body_field:
        yield JSON_BODY
    if route.body_field or any(_can_be_wrong(parameter) for parameter in operation.get("parameters", ())):
        yield INVALID


def _drop_null(parameter: Json) -> None:
    """FastAPI's schema of an optional parameter allows null, which no address and no header can say."""
    match parameter["schema"]:
        case {"anyOf": [one, {"type": "null"}], **rest}:
            parameter["schema"] = {**rest, **one}


def _can_be_wrong(parameter: Json) -> bool:
    """Whether it can be missing, or there are texts that do not fit. Any fits a string of which no more is said."""
    if parameter.get("required") and parameter["in"] != "path":
        return True
    schema = parameter["schema"]
    return schema.get("type") != "string" or bool(set(schema) - {"type", "title", "description", "examples", "default"})


def _response(status: int, meanings: dict[str, str]) -> Json:
    """The response with one of these codes."""
    title = HTTPStatus(status).phrase
    schema = {
        "allOf": [{"$ref": "#/components/schemas/Problem"}],
        "properties": {"status": {"const": status}, "code": {"enum": sorted(meanings)}},
    }
    examples = {
        code: {"value": {"type": "about:blank", "title": title, "status": status, "code": code, "detail": meaning}}
        for code, meaning in sorted(meanings.items())
    }
    response: Json = {
        "description": "\n".join(f"- `{code}`: {meaning}" for code, meaning in sorted(meanings.items())),
        "content": {"application/problem+json": {"schema": schema, "examples": examples}},
    }
    return response | ({"headers": HEADERS[status]} if status in HEADERS else {})
