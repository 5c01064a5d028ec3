"""The OpenAPI document says what a route answers because of its dependencies, its body and where it stands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from common.errors import Conflict, TooMany
from common.http.app import Running, create_app
from common.http.dependencies import raises
from common.http.problems import problems
from common.http.sessions import CurrentUser, Operator, OptionalUser, Sessions
from tests.support.documented import Undocumented
from tests.support.serving import running
from tests.support.sessions import Tokens

router = APIRouter(prefix="/api")


class Chair(BaseModel):
    """A body."""

    title: str


class Taken(Conflict):
    """Somebody sits there.

    This paragraph is for us.
    """

    code = "taken"


@raises(TooMany)
async def limited() -> None:
    """A limit, declared where it is checked."""


@router.post("/chairs", responses=problems(Taken))
async def make(body: Chair, user: CurrentUser, _: Annotated[None, Depends(limited)]) -> Chair:
    """Make one."""
    return body


@router.get("/chairs/{name}")
async def show(name: str, user: OptionalUser, legs: Annotated[int | None, Query()] = None) -> str:
    """Show one, or raise what no document says."""
    if name == "taken":
        raise Taken("somebody sits there")
    return name


@router.get("/sat-on")
async def sat_on(name: str) -> str:
    """Name one."""
    return name


@router.delete("/chairs/{name}")
async def burn(name: str, operator: Operator) -> None:
    """Burn one."""


@router.get("/page", response_class=HTMLResponse)
async def page() -> str:
    """A page."""
    return "<p>"


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    yield Running([Sessions(Tokens().jwk_set)], {})


app = create_app("chairs", router, start, away=(ConnectionError,))


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = app.openapi()["paths"][path][method]
    return found


def codes(method: str, path: str) -> dict[str, list[str]]:
    """The codes of each problem that an operation documents."""
    return {
        status: response["content"]["application/problem+json"]["schema"]["properties"]["code"]["enum"]
        for status, response in operation(method, path)["responses"].items()
        if "application/problem+json" in response.get("content", {})
    }


NO_SESSION = ["not_signed_in", "session_ended", "session_expired", "session_invalid"]


def test_a_route_need_not_say_what_its_dependencies_and_the_middleware_answer() -> None:
    assert codes("post", "/api/chairs") == {
        "400": ["bad_request", "malformed_json"],
        "401": NO_SESSION,
        "403": ["cross_site"],
        "409": ["taken"],
        "411": ["length_required"],
        "413": ["too_large"],
        "422": ["validation_failed"],
        "429": ["too_many_requests"],
        "503": ["unavailable"],
    }
    assert codes("delete", "/api/chairs/{name}") == {
        "401": NO_SESSION,
        "403": ["cross_site", "operator_only", "passkey_needed", "proof_needed"],
        "429": ["too_many_requests"],
        "503": ["unavailable"],
    }
    assert codes("get", "/api/chairs/{name}") == {"422": ["validation_failed"], "503": ["unavailable"]}
    assert codes("get", "/api/sat-on") == {
        "422": ["validation_failed"],
        "503": ["unavailable"],
    }  # The name may be missing.


def test_a_session_is_needed_or_welcome_or_neither() -> None:
    session: list[dict[str, list[str]]] = [{"cookie": []}, {"bearer": []}]
    assert operation("post", "/api/chairs")["security"] == session
    assert operation("get", "/api/chairs/{name}")["security"] == [{}, *session]
    assert "security" not in operation("get", "/api/page")
    assert {"cookie", "bearer"} <= set(app.openapi()["components"]["securitySchemes"])


def test_the_meaning_of_a_code_is_the_first_paragraph_of_its_error() -> None:
    response = operation("post", "/api/chairs")["responses"]["409"]
    assert response["description"] == "- `taken`: Somebody sits there."
    example = response["content"]["application/problem+json"]["examples"]["taken"]["value"]
    assert (example["status"], example["title"], example["detail"]) == (409, "Conflict", "Somebody sits there.")


def test_no_address_can_say_null() -> None:
    [legs] = [p for p in operation("get", "/api/chairs/{name}")["parameters"] if p["name"] == "legs"]
    assert legs["schema"]["type"] == "integer"


def test_a_page_is_no_json_and_neither_are_its_errors() -> None:
    responses = operation("get", "/api/page")["responses"]
    assert set(responses) == {"200", "303", "4XX", "503"}
    assert {media for response in responses.values() for media in response.get("content", ())} == {"text/html"}


async def test_an_answer_that_the_document_does_not_have_fails_the_test_that_gets_it() -> None:
    async with running(app) as http:
        with pytest.raises(Undocumented, match=r"GET /api/chairs/taken answers 409 taken: name its error in"):
            await http.get("/api/chairs/taken")
        assert (await http.get("/api/nothing")).status_code == httpx.codes.NOT_FOUND
