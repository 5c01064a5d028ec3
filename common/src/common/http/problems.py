"""RFC 9457 `application/problem+json`: which status each kind of error becomes, and the handlers that render it."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from common import errors
from common.http.network import network_of
from common.http.sessions import SessionInvalid, caller_id
from common.security_log import Kind, note

log = logging.getLogger(__name__)

STATUS: Mapping[type[errors.SoukError], HTTPStatus] = {
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Declined: HTTPStatus.PAYMENT_REQUIRED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Unsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


REFUSALS = (errors.Forbidden, errors.TooMany, SessionInvalid)
"""Errors that the security log has an entry of."""


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """An RFC 9457 answer. It is in ASCII, so that nothing it quotes from the input can break its encoding."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    content = json.dumps({**body, **more})
    return Response(content, status, media_type="application/problem+json", headers=dict(headers or {}))


CODES = "x-codes"
"""Where `problems` leaves the codes of a route, for `common.http.documents`."""


def problems(*kinds: type[errors.SoukError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route in its OpenAPI document: the errors that it answers with.

    It need not name those that a dependency declares with `raises`, nor what any route may answer.
    """
    return {status: {"description": ", ".join(codes), CODES: codes} for status, codes in codes_of(*kinds).items()}


def coded(*kinds: type[errors.SoukError]) -> dict[str, Any]:
    """The response of a route that answers with these errors under a status of its own choice."""
    return {"description": "", CODES: {kind.code: _meaning(kind) for kind in kinds}}


def codes_of(*kinds: type[errors.SoukError]) -> dict[int, dict[str, str]]:
    """What the code of each error means, by status: the first sentences of its docstring."""
    codes: dict[int, dict[str, str]] = {}
    for kind in kinds:
        codes.setdefault(_status(kind), {})[kind.code] = _meaning(kind)
    return codes


def _meaning(kind: type[errors.SoukError]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _status(kind: type[errors.SoukError]) -> int:
    return next((STATUS[base] for base in kind.__mro__ if base in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


async def _souk_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.SoukError)  # noqa: S101 - registered for this type
    headers = {}
    if isinstance(error, REFUSALS):
        _note(request, error)
    if isinstance(error, errors.TooMany):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = "1"
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(_status(type(error)), error.code, str(error), headers, **error.more)


def _note(request: Request, error: errors.SoukError) -> None:
    kind: Kind = "denied"
    if isinstance(error, errors.TooMany):
        kind = "throttled"
    elif isinstance(error, SessionInvalid):
        kind = "forged_token"
    route = getattr(request.scope.get("route"), "path", request.method)
    network = network_of(request.client.host) if request.client else None
    note(kind, caller_id(request), network, f"{request.method} {route}: {error.code}")


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return problem(400, "malformed_json", "the body is not JSON")
    fields = [{"field": ".".join(str(p) for p in e["loc"][1:]) or str(e["loc"][0]), "message": e["msg"]} for e in found]
    return problem(422, "validation_failed", "some fields are wrong", errors=fields)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
    code = HTTPStatus(error.status_code).name.lower()
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_allowed(request))}
    return problem(error.status_code, code, str(error.detail), headers)


def _allowed(request: Request) -> list[str]:
    """The methods of all routes with this path: the framework's own `Allow` names those of the first one only.

    Of two paths that match, such as `/orders/sales` and `/orders/{id}`, the more literal one counts.
    """
    path = {name: request.scope[name] for name in ("type", "path", "root_path", "headers")}
    matching = [
        (str(route.path_format), method)
        for route in iter_route_contexts(request.app.routes)
        for method in sorted(route.methods or ())
        if route.matches({**path, "method": method})[0] is Match.FULL
    ]
    literal = min((found.count("{") for found, _ in matching), default=0)
    allowed = {method for found, method in matching if found.count("{") == literal}
    return sorted({*allowed, "HEAD"} if "GET" in allowed else allowed)


async def _away(request: Request, error: Exception) -> Response:
    log.warning("a server is unreachable: %s", error)
    unavailable = errors.Unavailable("a part of Souk is away for a moment; try again")
    return await _souk_error(request, unavailable)


async def _broken_off(_: Request, error: Exception) -> Response:  # noqa: ARG001 - of every handler
    """For the log and the metrics: the client is gone."""
    return problem(400, "broken_off", "the request was broken off")


def add_problem_handlers(app: FastAPI, away: Sequence[type[Exception]]) -> None:
    """Answer every error as problem+json. The errors in `away` mean that a server is unreachable: they become a 503."""
    app.add_exception_handler(errors.SoukError, _souk_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _broken_off)
    for kind in away:
        app.add_exception_handler(kind, _away)
