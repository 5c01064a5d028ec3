"""What every service answers: problems with a code, limited bodies, request ids, and no internals."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from pymongo.errors import AutoReconnect, ConnectionFailure, ServerSelectionTimeoutError

from common import errors
from common.http.app import Running, create_app
from common.http.dependencies import IdempotencyKey
from common.http.paging import Body, Cursor, Limit, Page, page_of
from common.http.problems import STATUS, problems
from common.ids import new_id
from common.telemetry import current_cause
from tests.support.serving import running

MAX_BODY = 1_000
LARGER_BODIES = {re.compile(r"/api/chairs/[^/]+/pictures"): 3_000}
SECRET = "a secret in a local variable"


class SoldOut(errors.Conflict):
    """Nothing is left."""

    code = "sold_out"


class Size(Body):
    width: int = Field(ge=1)


class Chair(Body):
    """A request body as services have them."""

    title: str = Field(min_length=1)
    sizes: tuple[Size, ...] = ()


class Seat(BaseModel):
    """A row of a list."""

    id: str


SEATS = sorted((new_id() for _ in range(4)), reverse=True)


class Faults:
    """What the route `/fails` raises, and whether the server behind `/readyz` is away."""

    error: Exception = RuntimeError(SECRET)
    away: Exception | None = None
    silent: bool = False
    bell_away: Exception | None = None

    async def check(self) -> None:
        if self.away:
            raise self.away
        if self.silent:
            await asyncio.Event().wait()

    async def check_bell(self) -> None:
        if self.bell_away:
            raise self.bell_away


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def client(faults: Faults) -> AsyncIterator[httpx.AsyncClient]:
    """A service with a route for each case."""
    router = APIRouter(prefix="/api")

    @router.get("/fails", responses=problems(SoldOut, errors.StaleWrite, errors.IdempotencyKeyReused, *STATUS))
    async def fails() -> None:
        secret = SECRET
        assert secret
        raise faults.error

    @router.post("/chairs", status_code=201)
    async def make_chair(body: Chair, idempotency_key: IdempotencyKey = None) -> Chair:
        return body

    @router.post("/chairs/{number}/pictures", openapi_extra={"requestBody": {"content": {"image/webp": {}}}})
    async def add_picture(number: int, request: Request) -> int:
        return len(await request.body())

    @router.get("/chairs/{number}")
    async def chairs(number: int, limit: Limit = 20) -> Page[int]:
        return Page(items=list(range(number, number + limit)), next=None)

    @router.get("/chairs")
    async def list_chairs(limit: Limit = 20, cursor: Cursor = None) -> Page[Seat]:
        async def find(most: int) -> list[str]:
            return [seat for seat in SEATS if cursor is None or seat < cursor][:most]

        return await page_of(find, limit, lambda seat: Seat(id=seat), str)

    @router.get("/endless")
    async def endless() -> StreamingResponse:
        async def ticks() -> AsyncIterator[bytes]:
            while True:
                yield b"tick"
                await asyncio.sleep(0.01)

        return StreamingResponse(ticks(), media_type="text/event-stream")

    @router.get("/cause")
    async def cause() -> dict[str, str]:
        return {"request_id": current_cause().request_id, "traceparent": current_cause().traceparent}

    @asynccontextmanager
    async def start() -> AsyncIterator[Running]:
        checks = {"shelf": faults.check, "bell": faults.check_bell}
        yield Running([faults], checks, serves_without=frozenset({"bell"}))

    async with running(
        create_app("test", router, start, away=(ConnectionFailure,), max_body=MAX_BODY, larger_bodies=LARGER_BODIES)
    ) as client:
        yield client


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """RFC 9457, with the id of the request and nothing of our code."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, "about:blank")
    assert body["title"]
    assert body["detail"]
    assert answer.headers["x-request-id"]
    for inside in ("Traceback", ".py", SECRET, "pydantic", "RuntimeError"):
        assert inside not in answer.text
    return body


# Problems


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.Invalid("x"), 422, "invalid"),
        (errors.IdempotencyKeyReused("x"), 422, "idempotency_key_reused"),
        (errors.Unauthenticated("x"), 401, "not_signed_in"),
        (errors.Declined("x"), 402, "declined"),
        (errors.Forbidden("x"), 403, "forbidden"),
        (errors.NotFound("x"), 404, "not_found"),
        (errors.Conflict("x"), 409, "conflict"),
        (errors.StaleWrite("x"), 409, "changed_meanwhile"),
        (SoldOut("x"), 409, "sold_out"),
        (errors.TooLarge("x"), 413, "too_large"),
        (errors.Unsupported("x"), 415, "unsupported"),
        (errors.TooMany("x", 7), 429, "too_many_requests"),
        (errors.Unavailable("x"), 503, "unavailable"),
        (AutoReconnect(SECRET), 503, "unavailable"),
        (ServerSelectionTimeoutError(SECRET), 503, "unavailable"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_error_of_the_business_is_a_problem_with_its_code(
    error: Exception, status: int, code: str, client: httpx.AsyncClient, faults: Faults
) -> None:
    faults.error = error
    assert_problem(await client.get("/api/fails"), status, code)


async def test_an_error_says_what_to_do_about_it_in_headers(client: httpx.AsyncClient, faults: Faults) -> None:
    headers = {}
    for faults.error in (errors.TooMany("x", 7), errors.Unavailable("x"), errors.Unauthenticated("x")):
        answer = await client.get("/api/fails")
        headers[answer.status_code] = answer.headers.get("retry-after") or answer.headers.get("www-authenticate")
    assert headers == {429: "7", 503: "1", 401: "Bearer"}


async def test_a_fault_of_ours_is_a_500_without_details_and_is_logged_in_full(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get("/api/fails", headers={"X-Request-ID": "request-1"})

    assert_problem(answer, 500, "internal_error")
    assert answer.headers["x-request-id"] == "request-1"
    [record] = [record for record in caplog.records if record.exc_info]
    assert "GET /api/fails failed" in record.message
    assert SECRET in str(record.exc_info)


async def test_a_path_that_nobody_serves_and_a_method_that_nobody_offers(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/api/nothing"), 404, "not_found")
    answer = await client.delete("/api/chairs")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_wrong_fields_are_named(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/chairs", json={"title": " ", "sizes": [{"width": 3}, {"width": 0}], "legs": 4})

    fields = assert_problem(answer, 422, "validation_failed")["errors"]
    assert {field["field"] for field in fields} == {"title", "sizes.1.width", "legs"}
    assert all(field["message"] for field in fields)


@pytest.mark.parametrize("path", ["/api/chairs/seven", "/api/chairs/1?limit=0", "/api/chairs/1?limit=101"])
async def test_wrong_parameters_are_named_too(path: str, client: httpx.AsyncClient) -> None:
    [field] = assert_problem(await client.get(path), 422, "validation_failed")["errors"]
    assert field["field"] in {"number", "limit"}


@pytest.mark.parametrize("key", ["", 201 * "k"])
async def test_an_idempotency_key_has_bounds(key: str, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/chairs", json={"title": "A"}, headers={"Idempotency-Key": key})
    assert_problem(answer, 422, "validation_failed")


@pytest.mark.parametrize("body", [b'{"title": ', b"title", b"{'title': 1}", b'{"title": "a"} extra', b"\x00"])
async def test_a_body_that_is_not_json_is_malformed(body: bytes, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/chairs", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "malformed_json")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"title": "\xff"}',
        rb'{"title": "\ud800"}',
        b'{"title": NaN}',
        b'{"title": ' + 900 * b"9" + b"}",
        b'{"title": 1e999}',
        900 * b"[",
        b'{"title": "a", "title": 7}',
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_a_strange_body_is_the_callers_mistake(body: bytes, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/chairs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert_problem(answer, answer.status_code, answer.json()["code"])


async def test_what_a_problem_quotes_cannot_break_its_encoding(client: httpx.AsyncClient, faults: Faults) -> None:
    faults.error = errors.Invalid("a \ud800 lone surrogate and a ü")
    assert assert_problem(await client.get("/api/fails"), 422, "invalid")["detail"] == str(faults.error)


# Lists


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1, 1, 1, 1]), (2, [2, 2]), (3, [3, 1]), (4, [4]), (5, [4])], ids=lambda v: str(v)
)
async def test_only_the_last_page_has_no_next(limit: int, sizes: list[int], client: httpx.AsyncClient) -> None:
    pages: list[list[str]] = []
    more: dict[str, str] | None = {}
    while more is not None:
        page = (await client.get("/api/chairs", params={"limit": str(limit), **more})).json()
        pages.append([seat["id"] for seat in page["items"]])
        more = {"cursor": page["next"]} if page["next"] else None

    assert [len(page) for page in pages] == sizes
    assert [seat for page in pages for seat in page] == SEATS


OURS = "019a1b2c3d4e7f00a1b2c3d4e5f60718"


@pytest.mark.parametrize(
    "cursor",
    ["zzz", "", 32 * "0", OURS.upper(), OURS[:-1], OURS + "\n", OURS.replace("7", "4", 1), str(UUID(OURS))],
    ids=lambda cursor: repr(cursor),
)
async def test_a_cursor_that_is_none_of_ours_is_named(cursor: str, client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/chairs", params={"cursor": cursor})
    [field] = assert_problem(answer, 422, "validation_failed")["errors"]
    assert field["field"] == "cursor"


# HEAD


@pytest.mark.parametrize("path", ["/api/chairs/7", "/api/chairs?limit=2", "/api/chairs/seven", "/api/nothing"])
async def test_head_answers_like_get_without_the_body(path: str, client: httpx.AsyncClient) -> None:
    got, head = await client.get(path), await client.head(path)

    assert (head.status_code, head.content) == (got.status_code, b"")
    assert {**head.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}
    assert int(head.headers["content-length"]) == len(got.content)


async def test_head_of_a_stream_ends(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        answer = await client.head("/api/endless")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


# Bodies


async def test_a_body_may_be_as_large_as_the_bound_and_no_larger(client: httpx.AsyncClient) -> None:
    def body(size: int) -> bytes:
        return b'{"title": "' + (size - 13) * b"x" + b'"}'

    headers = {"Content-Type": "application/json"}
    assert (await client.post("/api/chairs", content=body(MAX_BODY), headers=headers)).status_code == 201
    answer = await client.post("/api/chairs", content=body(MAX_BODY + 1), headers=headers)
    assert_problem(answer, 413, "too_large")


async def test_a_larger_body_is_taken_on_its_own_path_only(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/chairs/7/pictures", content=3_000 * b"x")).json() == 3_000
    for path in ("/api/chairs", "/api/chairs/pictures", "/api/chairs/7/pictures/8", "/api/chairs/7/picturesque"):
        assert_problem(await client.post(path, content=3_000 * b"x"), 413, "too_large")
    refused = assert_problem(await client.post("/api/chairs/7/pictures", content=3_001 * b"x"), 413, "too_large")
    assert refused["detail"] == "the body may have at most 3000 bytes"


async def test_a_body_of_unknown_length_is_not_read(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        raise AssertionError("not read")
        yield b""

    assert_problem(await client.post("/api/chairs", content=endless()), 411, "length_required")


# Requests and what follows from them


@pytest.mark.parametrize("request_id", ["request-1", "a.B_9", 64 * "x"])
async def test_a_request_id_comes_back_and_is_known_inside(request_id: str, client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/cause", headers={"X-Request-ID": request_id})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", [None, "", "a b", "a\tb", "<script>", 65 * "x", "ü".encode()])
async def test_a_request_without_a_good_id_is_given_one(request_id: str | None, client: httpx.AsyncClient) -> None:
    headers = {} if request_id is None else {"X-Request-ID": request_id}
    ids = {(await client.get("/api/cause", headers=headers)).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(len(i) == 32 and i.isalnum() for i in ids)


async def test_a_trace_is_continued_and_a_broken_one_is_replaced(client: httpx.AsyncClient) -> None:
    async def trace(sent: str) -> str:
        return str((await client.get("/api/cause", headers={"traceparent": sent})).json()["traceparent"])

    good = f"00-{32 * 'a'}-{16 * 'b'}-01"
    assert await trace(good) == good
    for broken in ("", "00-xyz-1-01", f"00-{32 * '0'}-{16 * 'b'}-01", f"00-{32 * 'a'}-{16 * '0'}-01", good + "\n"):
        assert len(await trace(broken)) == 55
        assert await trace(broken) != broken


async def test_what_changes_something_or_fails_is_logged_once(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "common.http.middleware"):
        await client.post("/api/chairs", json={"title": "A"})
        await client.get("/api/chairs/seven")
        await client.get("/api/chairs/7")
        await client.get("/healthz")
    made, failed = [record for record in caplog.records if record.name == "common.http.middleware"]
    assert (made.message, failed.message) == ("POST /api/chairs 201", "GET /api/chairs/seven 422")
    assert vars(failed)["route"] == "/api/chairs/{number}"
    assert vars(failed)["ms"] > 0


async def test_an_answer_is_neither_cached_nor_sniffed(client: httpx.AsyncClient) -> None:
    for path in ("/api/cause", "/api/nothing", "/healthz"):
        headers = (await client.get(path)).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert "server" not in headers


# Operations


async def test_a_service_reports_that_it_is_alive_and_whether_it_is_ready(
    client: httpx.AsyncClient, faults: Faults
) -> None:
    both = {"shelf": {"answers": True, "needed": True}, "bell": {"answers": True, "needed": False}}
    assert (await client.get("/readyz")).json() == {"status": "ready", "servers": both}
    faults.away = ConnectionError(SECRET)

    answer = assert_problem(await client.get("/readyz"), 503, "not_ready")
    assert answer["away"] == {"shelf": "ConnectionError"}
    assert answer["servers"] == both | {"shelf": {"answers": False, "needed": True}}
    assert (await client.get("/healthz")).status_code == 200, "it is alive: a restart would not help"


async def test_a_service_is_ready_without_a_server_that_it_can_serve_without(
    client: httpx.AsyncClient, faults: Faults
) -> None:
    faults.bell_away = ConnectionError(SECRET)

    answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()["servers"]["bell"]) == (200, {"answers": False, "needed": False})
    everything = assert_problem(await client.get("/readyz?everything=true"), 503, "not_ready")
    assert everything["away"] == {"bell": "ConnectionError"}


async def test_a_server_that_is_silent_is_away(
    client: httpx.AsyncClient, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.http.operations.CHECK_TIMEOUT", 0.05)
    faults.silent = True

    assert assert_problem(await client.get("/readyz"), 503, "not_ready")["away"] == {"shelf": "TimeoutError"}


async def test_metrics_count_requests_by_route(client: httpx.AsyncClient) -> None:
    await client.get("/api/chairs/7")
    await client.get("/api/chairs/8")
    metrics = (await client.get("/metrics")).text
    assert 'souk_http_request_seconds_count{method="GET",route="/api/chairs/{number}",status="200"}' in metrics
    assert "/api/chairs/7" not in metrics


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_operations_are_not_reachable_through_the_gateway(path: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(path)).status_code == 200
    through_the_gateway = {"X-Forwarded-For": "192.0.2.7"}
    assert_problem(await client.get(path, headers=through_the_gateway), 404, "not_found")


async def test_the_documentation_names_the_problems_of_a_route(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/api/fails"]["get"]["responses"]
    assert responses["409"]["description"].splitlines() == [
        "- `changed_meanwhile`: Another writer changed the document since it was loaded. Load it and decide again.",
        "- `conflict`: The request is valid, but the current state does not allow it.",
        "- `sold_out`: Nothing is left.",
    ]
    assert responses["409"]["content"]["application/problem+json"]["schema"]["properties"]["code"] == {
        "enum": ["changed_meanwhile", "conflict", "sold_out"]
    }
    assert "/metrics" not in document["paths"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://souk.test"},
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
    ],
)
async def test_what_another_site_sends_with_a_cookie_changes_nothing(
    headers: dict[str, str], client: httpx.AsyncClient
) -> None:
    chair = {"title": "Chair"}
    refused = await client.post("/api/chairs", json=chair, headers=headers)
    bearer = await client.post("/api/chairs", json=chair, headers={**headers, "Authorization": "Bearer any"})
    read = await client.get("/api/chairs", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")
    assert (bearer.status_code, read.status_code) != (403, 403)


@pytest.mark.parametrize(
    "authorization", ["Basic x", "Bearer", "Bearerx y", "", "Bearer any"], ids=lambda value: value or "empty"
)
async def test_no_authorization_lets_another_site_use_a_cookie(authorization: str, client: httpx.AsyncClient) -> None:
    headers = {"Origin": "http://evil.test", "Authorization": authorization, "Cookie": "session=any; refresh=any"}

    refused = await client.post("/api/chairs", json={"title": "Chair"}, headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Origin": "null"},
        {"Origin": "http://souk.test"},
    ],
)
async def test_what_this_site_or_no_browser_sends_is_taken(headers: dict[str, str], client: httpx.AsyncClient) -> None:
    taken = await client.post("/api/chairs", json={"title": "Chair"}, headers=headers)

    assert taken.status_code < 400
