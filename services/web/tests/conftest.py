"""Visitors without a browser: they follow links and submit forms of web, in front of the real services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx
import pytest_asyncio

from common.http.sessions import User
from infra.local.stack.stack import Stack
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

LAMP = {"title": "Desk lamp", "description": "Rewired.\nStays where you put it.", "price": "12.50", "currency": "EUR"}


@dataclass
class Form:
    """A form on a page: its action, and the fields it sends if nobody types."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """What a person sees of a response."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer
        self.status = answer.status_code
        self.path = answer.url.path
        self.words: list[str] = []
        self.forms: list[Form] = []
        self.errors: dict[str, str] = {}
        """The error messages, by field."""
        self._error: str | None = None
        self._area: str | None = None
        self.feed(answer.text)

    @property
    def text(self) -> str:
        """All text, on one line."""
        return " ".join(" ".join(self.words).split())

    def form(self, action: str) -> Form:
        """The form with this action."""
        [form] = [form for form in self.forms if form.action == action]
        return form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect forms, fields and errors."""
        named = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(named["action"]))
        elif tag in ("input", "button") and "name" in named and self._is_sent(named):
            self.forms[-1].fields[named["name"]] = named.get("value", "")
        elif tag == "textarea":
            self._area = named["name"]
            self.forms[-1].fields[self._area] = ""
        elif tag == "p" and named.get("class") == "error":
            self._error = named.get("id", "form").removesuffix("-error")
            self.errors[self._error] = ""

    @staticmethod
    def _is_sent(named: dict[str, str]) -> bool:
        return named.get("type") not in ("radio", "checkbox") or "checked" in named

    def handle_endtag(self, tag: str) -> None:
        """Note where a text area or an error ends."""
        if tag == "textarea":
            self._area = None
        if tag == "p":
            self._error = None

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.words.append(data)
        if self._area:
            self.forms[-1].fields[self._area] += data
        if self._error:
            self.errors[self._error] += data


@dataclass(frozen=True)
class Visitor:
    """Somebody with a cookie jar and no scripts, who talks to the gateway."""

    http: httpx.AsyncClient
    user: User | None = None

    async def get(self, path: str) -> Page:
        """Open a page."""
        return Page(await self.http.get(path))

    async def send(self, page: Page, action: str, **typed: str) -> Page:
        """Fill in the form with this action, and submit it."""
        return Page(await self.http.post(action, data={**page.form(action).fields, **typed}))


class Visitors:
    """Makes visitors."""

    def __init__(self, stack: Stack, exits: AsyncExitStack) -> None:
        self._tokens = Tokens(stack.keys.private_key, stack.keys.public_jwk["kid"])
        self._stack = stack
        self._exits = exits

    async def anybody(self, language: str = "en-GB") -> Visitor:
        """A visitor who is not signed in."""
        client = httpx.AsyncClient(
            base_url=self._stack.url, timeout=30, follow_redirects=True, headers={"Accept-Language": language}
        )
        return Visitor(await self._exits.enter_async_context(client))

    async def new(self, name: str = "Ada", *roles: str, language: str = "en-GB") -> Visitor:
        """A signed-in visitor."""
        visitor, user = await self.anybody(language), person(name, *roles)
        visitor.http.cookies.set("session", self._tokens.token(user), domain="127.0.0.1", path="/")
        return Visitor(visitor.http, user)


@pytest_asyncio.fixture
async def visitors(stack: Stack) -> AsyncIterator[Visitors]:
    """Makes visitors of the shared stack."""
    async with AsyncExitStack() as exits:
        yield Visitors(stack, exits)


async def listed(seller: Visitor, **fields: str) -> str:
    """List an item that orders knows. Returns the path of its page."""
    page = await seller.send(await seller.get("/sell"), "/sell", **{**LAMP, "quantity": "5", **fields})
    assert page.status == 200, page.text
    await in_effect(seller, page.path)
    return page.path


async def in_effect(seller: Visitor, item: str) -> None:
    """Wait until orders sells an item as its seller has saved it: an edit is answered after two seconds at most."""

    async def followed() -> bool:
        answer = await seller.http.get(f"/api{item}")
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["in_effect"])

    await eventually(followed, 60)


async def ordered(buyer: Visitor, item: str, quantity: str = "2") -> Page:
    """Place an order, once orders has received the item."""

    async def accepted() -> Page | None:
        page = await buyer.send(await buyer.get(item), f"{item}/order", quantity=quantity)
        return page if page.path.startswith("/orders/") else None

    return await eventually(accepted)


async def paid(buyer: Visitor, order: Page, method: str = "pm_card_visa") -> None:
    """Pay an order, once payments has received it."""
    body = {"order_id": order.path.rpartition("/")[2], "payment_method": method}

    async def accepted() -> bool:
        answer = await buyer.http.post("/api/payments", json=body)
        assert answer.status_code == 201, answer.text
        return True

    await eventually(accepted, 30)


async def shows(visitor: Visitor, path: str, words: str) -> Page:
    """The page at `path`, once it contains `words`."""

    async def said() -> Page:
        page = await visitor.get(path)
        assert words in page.text, page.text
        return page

    return await eventually(said, 60)
