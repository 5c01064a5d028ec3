"""A lane and FastAPI's own way give the same answer to the same request, whatever is wrong with it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib import import_module
from typing import Annotated, Any, Literal

import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Header, Query, Request, Response
from fastapi.routing import iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from common import errors
from common.http.app import Running, create_app
from common.http.dependencies import IdempotencyKey, Now, Provided
from common.http.paging import Body, Limit
from common.http.road import Lane, Road
from common.http.sessions import Operator, OptionalUser, Sessions, VerifiedUser
from tests.support.sessions import Tokens, person

MAX_BODY = 500
TOKENS = Tokens()
ADA = TOKENS.headers(person())
JSON = {"Content-Type": "application/json"}


class Size(Body):
    width: int = Field(ge=1)


class Defaults(Body):
    width: int = 1


class Wanted(Body):
    """A query that is a model, as a search has it."""

    q: str | None = Field(default=None, max_length=5)
    kind: tuple[str, ...] = ()
    limit: int = Field(default=20, ge=1)


class Chair(Body):
    """A body with what bodies of services have."""

    title: str = Field(min_length=1)
    sizes: tuple[Size, ...] = ()
    made_at: datetime | None = None
    kind: Literal["plain", "soft"] = "plain"


class Calls(list[str]):
    """What was called, in order."""


async def counted(request: Request) -> str:
    """A dependency with an effect."""
    request.app.state.parts[Calls].append("counted")
    return "counted"


Counted = Annotated[str, Depends(counted)]
Noted = Annotated[Calls, Provided(Calls)]


def _something(chair: Chair) -> Chair:
    if chair.title == "nothing":
        raise ValueError("say something")
    return chair


def service(*, lanes: bool) -> FastAPI:
    """The same routes, served by lanes or by FastAPI alone."""
    router = APIRouter(prefix="/api")

    @router.post("/chairs", status_code=201)
    async def make(
        body: Chair,
        user: VerifiedUser,
        calls: Noted,
        now: Now,
        once: Counted,
        twice: Counted,
        idempotency_key: IdempotencyKey = None,
    ) -> dict[str, Any]:
        calls.append(f"made {body.title}")
        assert now
        return {"body": body, "user": user.name, "key": idempotency_key, "counted": [once, twice]}

    @router.get("/chairs/first")
    async def first() -> str:
        return "first"

    @router.get("/chairs/{number}")
    async def show(
        number: int,
        user: OptionalUser,
        limit: Limit = 20,
        kind: Annotated[Literal["plain", "soft"], Query()] = "plain",
        x_size: Annotated[int | None, Header()] = None,
        colour: Annotated[str | None, Cookie(max_length=5)] = None,
    ) -> list[Any]:
        return [number, user, limit, kind, x_size, colour]

    @router.get("/chairs/last")  # Never reached: the route above comes first.
    async def last() -> str:
        return "last"

    @router.patch("/chairs/{number}")
    async def change(number: int, body: Annotated[Chair, AfterValidator(_something)], calls: Noted) -> Chair:
        calls.append(f"changed {number}")
        return body

    @router.delete("/chairs/{number}", dependencies=[Depends(counted)])
    async def burn(number: str, operator: Operator) -> str:
        return operator.name

    @router.get("/fails/{how}")
    async def fails(how: str) -> str:
        raise {"conflict": errors.Conflict("x", more=1), "many": errors.TooMany("x", 3)}.get(how, RuntimeError(how))

    @router.get("/wrong")
    async def wrong(width: str) -> Size:
        return {"width": width}  # type: ignore[return-value]

    @router.post("/defaults")
    async def defaults(body: Defaults) -> int:
        return body.width

    @router.get("/search")
    async def search(wanted: Annotated[Wanted, Query()], legs: Annotated[tuple[int, ...], Query()] = (4,)) -> list[Any]:
        return [wanted, legs]

    @router.get("/raw")
    async def raw(request: Request) -> str:
        return Response(request.url.path, 202, {"X-Own": "1"})  # type: ignore[return-value]

    @router.post("/raw")
    async def raw_body(request: Request) -> int:
        return len(await request.body())

    @asynccontextmanager
    async def start() -> AsyncIterator[Running]:
        yield Running([Calls(), Sessions(TOKENS.jwk_set)], {})

    app = create_app("test", router, start, max_body=MAX_BODY)
    if not lanes:
        [road] = [
            middleware for middleware in app.user_middleware if getattr(middleware.cls, "__name__", "") == Road.__name__
        ]
        app.user_middleware.remove(road)
    return app


async def asked(
    app: FastAPI, method: str, path: str, headers: dict[str, str], body: bytes, *, broken_off: bool = False
) -> dict[str, Any]:
    """What a request is answered, as the server sees it, and what it called. The body comes in two pieces."""
    path, _, query = path.partition("?")
    given = {"Host": "souk.test", "X-Request-ID": "request-1", **headers}
    if body:
        given = {"Content-Length": str(len(body)), **given}
    pieces = [body[:9], body[9:]]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        if not pieces or (broken_off and len(pieces) == 1):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("192.0.2.7", 1),
        "server": ("souk.test", 80),
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
        calls = list(app.state.parts[Calls])
    start = sent[0]
    answer = b"".join(message.get("body", b"") for message in sent)
    return {"status": start["status"], "headers": start["headers"], "body": answer, "calls": calls}


BY_LANES, BY_FASTAPI = service(lanes=True), service(lanes=False)


async def same(method: str, path: str, headers: dict[str, str], body: bytes, **how: bool) -> dict[str, Any]:
    """The answer to a request, which is the same on both ways."""
    answer = await asked(BY_LANES, method, path, headers, body, **how)
    assert answer == await asked(BY_FASTAPI, method, path, headers, body, **how)
    return answer


GOOD = b'{"title": "A", "sizes": [{"width": 3}], "made_at": "2026-11-29T09:00:00Z"}'


async def test_what_is_right_gets_the_same_answer() -> None:
    made = await same("POST", "/api/chairs", {**JSON, **ADA, "Idempotency-Key": "k"}, GOOD)
    assert (made["status"], made["calls"]) == (201, ["counted", "made A"])
    assert json.loads(made["body"])["counted"] == ["counted", "counted"]
    shown = await same("GET", "/api/chairs/7?kind=soft&limit=3", {"X-Size": "4", "Cookie": "colour=red"}, b"")
    assert json.loads(shown["body"]) == [7, None, 3, "soft", 4, "red"]
    assert (await same("GET", "/api/chairs/first", {}, b""))["body"] == b'"first"'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b""),
        (JSON, b"null"),
        (JSON, b"[]"),
        (JSON, b'{"title": '),
        (JSON, b'{"title": "A"} more'),
        (JSON, b'\xef\xbb\xbf{"title": "A"}'),
        (JSON, b'{"title": "\xff"}'),
        (JSON, rb'{"title": "\ud800"}'),
        (JSON, b'{"title": "a", "title": 7}'),
        (JSON, b'{"title": NaN}'),
        (JSON, 400 * b"["),
        (JSON, '{"title": "Ä"}'.encode("utf-16")),
        (JSON, b'{"title": 7}'),
        (JSON, b'{"title": "A", "legs": 4}'),
        (JSON, b'{"title": "A", "sizes": [{"width": 3}, {"width": 0}, {}]}'),
        (JSON, b'{"title": "A", "made_at": "yesterday"}'),
        (JSON, b'{"title": "A", "made_at": 1764406800}'),
        (JSON, b'{"title": "A", "kind": null}'),
        (JSON, b'{"title": "' + MAX_BODY * b"x" + b'"}'),
        ({}, GOOD),
        ({"Content-Type": "text/plain"}, GOOD),
        ({"Content-Type": "application/json; charset=utf-8"}, GOOD),
        ({"Content-Type": "Application/JSON"}, GOOD),
        ({"Content-Type": "application/merge-patch+json"}, GOOD),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"title=A"),
        ({**JSON, "Transfer-Encoding": "chunked"}, GOOD),
        ({**JSON, "Idempotency-Key": ""}, GOOD),
        ({**JSON, "Idempotency-Key": 201 * "k"}, GOOD),
        ({**JSON, "Idempotency-Key": 201 * "k"}, b'{"title": 7}'),
        ({**JSON, "Sec-Fetch-Site": "cross-site", "Authorization": ""}, GOOD),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("session", [ADA, {}, {"Authorization": "Bearer forged"}], ids=["ada", "nobody", "forged"])
async def test_a_body_that_is_wrong_gets_the_same_answer(
    headers: dict[str, str], body: bytes, session: dict[str, str]
) -> None:
    await same("POST", "/api/chairs", {**session, **headers}, body)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/chairs/seven"),
        ("GET", "/api/chairs/last"),
        ("GET", "/api/chairs/7?limit=0&kind=hard"),
        ("GET", "/api/chairs/7?limit=1&limit=2"),
        ("GET", "/api/chairs/7?limit="),
        ("GET", "/api/chairs/7?unknown=1"),
        ("GET", "/api/chairs/7/"),
        ("GET", "/api/chairs/7/8"),
        ("GET", "/api/nothing"),
        ("GET", "/api/chairs"),
        ("PUT", "/api/chairs/7"),
        ("OPTIONS", "/api/chairs"),
        ("DELETE", "/api/chairs/7"),
        ("HEAD", "/api/chairs/7"),
        ("HEAD", "/api/chairs/seven"),
        ("HEAD", "/api/fails/conflict"),
        ("GET", "/api/fails/conflict"),
        ("GET", "/api/fails/many"),
        ("GET", "/api/fails/otherwise"),
        ("GET", "/api/search"),
        ("GET", "/api/search?q=lamp&kind=a&kind=b&limit=3"),
        ("GET", "/api/search?q=&limit=0&kind="),
        ("GET", "/api/search?q=longer&unknown=1"),
        ("GET", "/api/search?legs=3&legs=5"),
        ("GET", "/api/wrong"),
        ("GET", "/api/wrong?width=1"),
        ("GET", "/api/wrong?width=wide"),
        ("GET", "/api/raw"),
        ("GET", "/healthz"),
        ("GET", "/openapi.json"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X-Size": "large", "Cookie": "colour=yellow"}, ADA], ids=["", "wrong", "ada"])
async def test_a_path_a_parameter_or_a_method_gets_the_same_answer(
    method: str, path: str, headers: dict[str, str]
) -> None:
    await same(method, path, headers, b"")


@pytest.mark.parametrize("body", [b'{"title": "nothing"}', b'{"title": "A"}'])
async def test_what_a_validator_of_a_route_says_is_the_same(body: bytes) -> None:
    await same("PATCH", "/api/chairs/7", JSON, body)
    await same("POST", "/api/raw", {}, body)
    await same("POST", "/api/defaults", JSON, b"")


async def test_a_request_that_is_broken_off_calls_nothing() -> None:
    answer = await same("POST", "/api/chairs", {**JSON, **ADA}, GOOD, broken_off=True)
    assert (answer["status"], answer["calls"]) == (400, [])


async def test_what_a_misfit_calls_is_called_once() -> None:
    answer = await same("POST", "/api/chairs", {**ADA, "Content-Type": "application/json; charset=utf-8"}, GOOD)
    assert answer["calls"] == ["counted", "made A"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["width", "title"]), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["title", "sizes", "made_at", "kind", "legs"]), JSON_VALUES, max_size=4))
async def test_any_body_gets_the_same_answer(body: dict[str, Any]) -> None:
    await same("POST", "/api/chairs", {**JSON, **ADA}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("items", "GET", "/api/items/{item_id}"),
        ("items", "GET", "/api/items"),
        ("items", "POST", "/api/items"),
        ("orders", "POST", "/api/orders"),
        ("orders", "GET", "/api/orders/{order_id}"),
        ("payments", "POST", "/api/payments"),
    ],
)
def test_a_route_that_is_asked_for_often_has_a_lane(service: str, method: str, path: str) -> None:
    routes = iter_route_contexts(import_module(f"{service}.main").app.routes)
    [route] = [route for route in routes if route.path == path and method in (route.methods or ())]
    Lane(route)
