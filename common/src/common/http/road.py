"""The road of a request to its route, past FastAPI's own way there, which costs more than the rest of the request.

FastAPI declares the routes. Of each plain one, a `Lane` is made once, which serves a request in five steps: read the
parameters, read the body, call the dependencies, call the endpoint, write the answer. Whatever does not fit goes
FastAPI's way before anything is called: other routes, and all that is wrong with a request, which FastAPI words.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any

from fastapi import FastAPI, params
from fastapi._compat import ModelField, field_annotation_is_scalar
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import ResponseValidationError
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.utils import is_body_allowed_for_status_code
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = "application/json"

Endpoint = Callable[..., Awaitable[Any]]

Source = Callable[[Request], Mapping[str, Any]]
"""Where a parameter comes from: the path, the query, a header or a cookie."""


TAKES_THE_REQUEST = frozenset({"call", "name", "path", "use_cache", "request_param_name"})
"""What a dependency may make use of that a lane calls."""

PARTS = TAKES_THE_REQUEST | {
    "scope",  # Every route has that of its function.
    "dependencies",
    "path_params",
    "query_params",
    "header_params",
    "cookie_params",
    "body_params",
}
"""What a route may make use of that has a lane."""


class Misfit(Exception):
    """This route, or this request, is not for a lane."""


class Road:
    """Serves what it can by lanes, and hands the rest to FastAPI."""

    def __init__(self, rest: ASGIApp) -> None:
        self._rest = rest
        self._lanes: _Lanes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer: ASGIApp = self._rest
        if scope["type"] == "http" and (lane := self._lane(scope)):
            request = Request(scope, receive, send)
            try:
                answer = await lane.serve(request)
            except Misfit:
                receive = _once_more(request)
            except Exception as error:
                answer = await _handled(request, error)
        await answer(scope, receive, send)

    def _lane(self, scope: Scope) -> "Lane | None":
        app: FastAPI = scope["app"]
        if app.dependency_overrides:
            return None
        self._lanes = self._lanes or _Lanes(app.routes)
        return self._lanes.find(scope)


class Lane:
    """Serves one route. To make one raises `Misfit` if the route is not plain."""

    def __init__(self, route: RouteContext) -> None:
        _check_plain(route)
        declared: Dependant = route.dependant
        self.route = route.original_route
        self._endpoint: Endpoint = route.endpoint  # type: ignore[assignment]
        self._request_name = declared.request_param_name
        self._parameters = [_parameter(source, field) for source, fields in _sources(declared) for field in fields]
        self._body: ModelField | None = declared.body_params[0] if declared.body_params else None
        # By function: FastAPI calls a dependency once that a route has twice.
        self._dependencies: dict[Endpoint, tuple[str | None, list[str]]] = {}
        for dependency in declared.dependencies:
            call, request_name = _simple(dependency)
            _, names = self._dependencies.setdefault(call, (request_name, []))
            names += [dependency.name] if dependency.name else []
        self._answer: ModelField = route.response_field
        self._status = route.status_code or 200

    async def serve(self, request: Request) -> Response:
        """The answer to a request. Raises `Misfit` before anything is called if something in the request is wrong."""
        values = {name: read(request) for name, read in self._parameters}
        if self._body:
            values[self._body.name] = _valid(self._body, await _json(request))
        if self._request_name:
            values[self._request_name] = request
        for call, (request_name, names) in self._dependencies.items():
            value = await (call(**{request_name: request}) if request_name else call())
            for name in names:
                values[name] = value
        found = await self._endpoint(**values)
        if isinstance(found, Response):
            return found
        value, errors = self._answer.validate(found)
        if errors:
            raise ResponseValidationError(errors=errors, body=found)
        return Response(self._answer.serialize_json(value), self._status, media_type=JSON)


class _Lanes:
    """Finds the lane of a request, by FastAPI's order: the first route counts whose path and method fit."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._by_method: dict[str, list[tuple[re.Pattern[str], Mapping[str, Any], Lane | None]]] = {}
        for route in iter_route_contexts(routes):
            if (path := route.path) is None or route.methods is None:
                break  # Something like a mount: what comes after it may be hidden by it.
            pattern, _, convertors = compile_path(path)
            for method in route.methods:
                self._by_method.setdefault(method, []).append((pattern, convertors, _lane(route)))

    def find(self, scope: Scope) -> Lane | None:
        """The lane of a request, which is noted in its scope as FastAPI does. None if it has none."""
        if scope.get("root_path"):
            return None
        for pattern, convertors, lane in self._by_method.get(scope["method"], ()):
            if match := pattern.match(scope["path"]):
                if lane:
                    scope["route"] = lane.route
                    found = match.groupdict()
                    scope["path_params"] = {name: convertors[name].convert(text) for name, text in found.items()}
                return lane
        return None


def _lane(route: RouteContext) -> Lane | None:
    try:
        return Lane(route)
    except Misfit:
        return None


def _check_plain(route: RouteContext) -> None:
    """Raise `Misfit` unless a route takes at most one JSON body, and answers with a model in the usual way."""
    if not isinstance(route.original_route, APIRoute):
        raise Misfit
    declared: Dependant = route.dependant
    special = (
        _used(declared) - PARTS,
        route.is_sse_stream,
        route.is_json_stream,
        route.response_model_include,
        route.response_model_exclude,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
        not route.response_model_by_alias,
        route.response_field is None,
        not isinstance(route.response_class, DefaultPlaceholder),
        not is_body_allowed_for_status_code(route.status_code),
        not iscoroutinefunction(route.endpoint),
        route.max_body_size,
        len(declared.body_params) > 1 or route._embed_body_fields,
        any(type(field.field_info) is not params.Body for field in declared.body_params),
    )
    if any(special):
        raise Misfit


def _sources(declared: Dependant) -> Iterator[tuple[Source, list[ModelField]]]:
    yield lambda request: request.path_params, declared.path_params
    yield lambda request: request.query_params, declared.query_params
    yield lambda request: request.headers, declared.header_params
    yield lambda request: request.cookies, declared.cookie_params


def _parameter(source: Source, field: ModelField) -> tuple[str, Callable[[Request], Any]]:
    """The name of a parameter, and what reads its value. That raises `Misfit` if it is missing or wrong."""
    info, required, alias = field.field_info, field.field_info.is_required(), field.alias
    default = None if required else field.default
    one_value = field_annotation_is_scalar(info.annotation) and isinstance(default, str | int | None)

    def read(request: Request) -> Any:
        if (text := source(request).get(alias)) is not None:
            return _valid(field, text)
        if required:
            raise Misfit
        return default

    def read_as_fastapi_does(request: Request) -> Any:
        values, errors = request_params_to_args([field], source(request))
        if errors:
            raise Misfit
        return values[field.name]

    plain = one_value and alias == (info.validation_alias or alias) and not info.validate_default
    return field.name, read if plain else read_as_fastapi_does


def _used(declared: Dependant) -> set[str]:
    """What of all that FastAPI knows, a route or a dependency makes use of."""
    return {name for name in Dependant.__slots__ if getattr(declared, name)}


def _simple(dependency: Dependant) -> tuple[Endpoint, str | None]:
    """The function of a dependency that takes the request or nothing, and the name under which it takes it."""
    if _used(dependency) - TAKES_THE_REQUEST or not dependency.use_cache or not iscoroutinefunction(dependency.call):
        raise Misfit
    return dependency.call, dependency.request_param_name


def _valid(field: ModelField, value: Any) -> Any:
    value, errors = field.validate(value)
    if errors:
        raise Misfit
    return value


async def _json(request: Request) -> Any:
    """The body. What FastAPI would read otherwise, or not at all, is a misfit."""
    try:
        body = await _read(request)
        if request.headers.get("content-type") != JSON:
            raise Misfit
        return json.loads(body)
    except HTTPException:  # It came too slowly.
        raise
    except Exception:
        raise Misfit from None


async def _read(request: Request) -> bytes:
    """The bytes of the body, kept where `Request.body` looks for them: its own way takes several times as long."""
    pieces, more = [], True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    request._body = b"".join(pieces)
    return request._body


def _once_more(request: Request) -> Receive:
    """Receive the body of a request again, if it has been read."""
    body: bytes | None = getattr(request, "_body", None)

    async def receive() -> Message:
        nonlocal body
        if body is None:
            return await request.receive()
        message, body = {"type": "http.request", "body": body, "more_body": False}, None
        return message

    return receive


async def _handled(request: Request, error: Exception) -> Response:
    """What the app's handler of such errors answers; without one, the error goes on."""
    for kind in type(error).__mro__:
        if kind is not Exception and (handler := request.app.exception_handlers.get(kind)):
            answer: Response = await handler(request, error)
            return answer
    raise error
