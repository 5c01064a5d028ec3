"""Every page and every stream of news, read as everybody: docs/authorization.md says what they get."""

import json
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from common.http.sessions import COOKIE, OPERATOR
from infra.local.stack.stack import Stack
from infra.services import ROOT
from tests.support.calls import DOCUMENT
from tests.support.forgeries import bad_tokens
from tests.support.market import Market
from tests.support.people import People
from tests.support.sessions import Tokens
from tests.support.waiting import eventually
from web.main import app
from web.rendering.assets import Assets

TABLE = ROOT / "docs/authorization.md"
COLUMNS = ("nobody", "somebody else", "its owner", "an operator")

ROWS: dict[str, dict[str, str]] = {
    cells[0]: dict(zip(COLUMNS, cells[1:], strict=True))
    for line in re.findall(r"^\| (/.*) \|$", TABLE.read_text(), re.MULTILINE)
    if (cells := line.split(" | "))
}

STREAMS = {row for row in ROWS if row.startswith("/live?")}

PAGES = {
    route.path.replace(":path}", "}")
    for route in iter_route_contexts(app.routes)
    if route.path and "GET" in (route.methods or ()) and route.path not in ("/live", "/api/users/me/export")
}
"""What web answers to GET. The export is an operation of the API; `STREAMS` has what is never at its end."""


def test_every_page_has_a_row() -> None:
    rows = {row.replace("{draft_id}", "{item_id}") for row in ROWS.keys() - STREAMS}
    assert not PAGES - rows, "say who may read them:\n" + "\n".join(
        f"| {page} | ? | ? | ? | ? |" for page in PAGES - rows
    )
    assert not rows - PAGES, f"{TABLE.name} has pages that are no more: {rows - PAGES}"


def test_all_that_a_stream_can_be_asked_for_has_a_row() -> None:
    parameters = {one["name"] for one in DOCUMENT["paths"]["/live"]["get"]["parameters"]}
    assert {row.removeprefix("/live?").partition("=")[0] for row in STREAMS} == parameters


class Places:
    """What stands for the parameters in the address of a page: what the owner has."""

    def __init__(self, market: Market) -> None:
        self._market = market

    async def of(self, row: str) -> dict[str, str]:
        """What is needed for this page."""
        known = {"category": "music", "city": "Berlin", "name": next(iter(Assets().by_name))}
        if "/attendees" in row or "/door" in row:
            return known | {"item_id": await self._market.event()}
        if row.endswith("/receipt"):
            return known | {"order_id": await self._market.paid_order()}
        if row == "/live?orders=bought":
            await self._market.made("order_id")
        if row == "/live?orders=sold":
            await self._market.sale()
        for name in re.findall(r"{(\w+)}", row):
            if name == "seller_id":
                await self._market.made("item_id")
                known[name] = self._market.owner.user.id
            elif name == "draft_id":
                known[name] = await self._draft()
            elif name not in known:
                known[name] = await self._market.made(name)
        return known

    async def _draft(self) -> str:
        body = {"title": "A lamp", "description": "", "price": 4500, "currency": "EUR", "quantity": 1}
        body["draft"] = True
        answer = await self._market.owner.http.post("/api/items", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


async def read(http: httpx.AsyncClient, address: str) -> str:
    """What somebody gets for an address, in the words of the table."""
    if address.startswith("/live?"):
        return await _streamed(http, address)
    answer = await http.get(address)
    assert answer.status_code < 500, answer.text
    if answer.is_redirect:
        to = answer.headers["location"]
        if to.startswith("/signin?next="):
            return "to sign in"
        return "to /" if to == "/" else await read(http, to)
    return str(answer.status_code) if answer.status_code in (401, 403, 404) else "yes"


async def _streamed(http: httpx.AsyncClient, address: str) -> str:
    """Whether the first message of a stream has what was asked for."""
    async with http.stream("GET", address) as answer:
        if answer.status_code != 200:
            return str(answer.status_code)
        event = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            if line.startswith("data: ") and event != "clock":
                return _told(event, json.loads(line.removeprefix("data: ")))
    return "nothing"


def _told(event: str, data: Mapping[str, Any] | None) -> str:
    return "yes" if event == "news" and data and (data["html"] or data["orders"]) else event.replace("news", "nothing")


@pytest.mark.parametrize("row", ROWS)
async def test_everybody_reads_what_the_table_says(row: str, stack: Stack) -> None:
    tokens = Tokens(stack.keys.private_key)
    async with AsyncExitStack() as exits:
        people = People(stack, exits)
        owner, operator = await people.new("Olga"), await people.new("Otto", OPERATOR)
        market = Market(people, owner, await people.new("Sid"), operator, stack.public_url)
        address = row.format_map(await Places(market).of(row))

        async def as_(token: str | None) -> str:
            http = await people.anybody()
            if token:
                http.cookies.set(COOKIE, token)
            return await read(http, address)

        eve, wanted = (await people.new("Eve")).user, ROWS[row]
        for name, (token, _) in bad_tokens(stack.keys, owner.user).items():
            assert await as_(token) == wanted["nobody"], f"a session that is {name} counts as none"

        async def there() -> bool:
            return await as_(tokens.token(operator.user)) == wanted["an operator"]

        await eventually(there, 30, why=f"{address} is not {wanted['an operator']} to an operator")
        found = {
            "nobody": await as_(None),
            "somebody else": await as_(tokens.token(eve)),
            "its owner": await as_(tokens.token(owner.user)),
            "an operator": await as_(tokens.token(operator.user)),
        }
        assert found == wanted
