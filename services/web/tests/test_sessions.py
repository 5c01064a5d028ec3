"""Sessions as their owner sees them: pages refresh them, show them and end them."""

import asyncio
import time
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import pytest

from infra.local.stack.stack import Stack
from services.web.tests.conftest import Page, Visitor, Visitors
from tests.support.sessions import Tokens, person
from tests.support.stacks import away
from tests.support.waiting import eventually

PASSWORD = "correct horse"


async def signed_up(visitors: Visitors, language: str = "en-GB") -> Visitor:
    """Somebody who has filled in the sign-up form."""
    visitor, user = await visitors.anybody(language), person()
    page = await visitor.send(
        await visitor.get("/signup"), "/signup", email=user.email, password=PASSWORD, name=user.name
    )
    assert page.path == "/"
    return Visitor(visitor.http, user)


async def signed_in_elsewhere(visitors: Visitors, same: Visitor) -> Visitor:
    """The same person on another device."""
    assert same.user
    visitor = await visitors.anybody()
    await visitor.send(await visitor.get("/signin"), "/signin", email=same.user.email, password=PASSWORD)
    return Visitor(visitor.http, same.user)


def expire(visitor: Visitor, stack: Stack) -> None:
    """What happens in ten minutes: the browser still has an access token, but it has expired."""
    assert visitor.user
    keep(visitor, Tokens(stack.keys.private_key).token(visitor.user, exp=int(time.time()) - 1))


def keep(visitor: Visitor, token: str) -> None:
    """Put an access token into the browser."""
    visitor.http.cookies.set("session", token, domain="127.0.0.1", path="/")


async def drained(lines: AsyncIterator[str]) -> None:
    """Read a stream until it ends."""
    async for _ in lines:
        pass


def is_signed_in(page: Page) -> bool:
    return "Sign out" in page.text


@pytest.mark.parametrize("how", ["expired", "gone", "nonsense"])
async def test_a_page_refreshes_the_session_by_itself(visitors: Visitors, stack: Stack, how: str) -> None:
    visitor = await signed_up(visitors)
    before = visitor.http.cookies["refresh"]
    expire(visitor, stack)
    if how == "gone":
        del visitor.http.cookies["session"]
    if how == "nonsense":
        keep(visitor, "nonsense")

    page = await visitor.get("/my/orders")

    assert (page.status, page.path) == (200, "/my/orders")
    assert is_signed_in(page)
    assert visitor.http.cookies["refresh"] != before
    assert "set-cookie" not in (await visitor.get("/my/orders")).answer.headers, "once is enough"


async def test_a_form_is_sent_although_the_access_token_has_expired(visitors: Visitors, stack: Stack) -> None:
    visitor = await signed_up(visitors)
    form = await visitor.get("/sell")
    expire(visitor, stack)

    page = await visitor.send(form, "/sell", title="Lamp", description="", price="1", currency="EUR", quantity="1")

    assert page.path.startswith("/items/"), page.text


async def test_many_requests_at_once_and_a_lost_answer_keep_the_session(visitors: Visitors, stack: Stack) -> None:
    visitor = await signed_up(visitors)
    cookies = {"Cookie": f"refresh={visitor.http.cookies['refresh']}"}
    visitor.http.cookies.clear()

    tabs = await asyncio.gather(*(visitor.http.get("/my/orders", headers=cookies) for _ in range(8)))
    visitor.http.cookies.clear()
    again = Page(await visitor.http.get("/my/orders", headers=cookies))

    assert all(is_signed_in(Page(tab)) for tab in [*tabs, again.answer])
    assert is_signed_in(await visitor.get("/my/orders")), "the cookies of the last answer are good"


async def test_an_ended_session_leads_to_the_sign_in_page_and_its_cookies_are_cleared(visitors: Visitors) -> None:
    visitor = await signed_up(visitors)
    elsewhere = await signed_in_elsewhere(visitors, visitor)

    page = await elsewhere.get("/my/sessions")
    assert page.text.count("This session") == 1
    [end] = [form for form in page.forms if form.action.endswith("/end")]
    page = await elsewhere.send(page, end.action)

    assert "The session has ended." in page.text
    assert not [form for form in page.forms if form.action.startswith("/my/sessions")]

    async def signed_out() -> bool:
        return (await visitor.get("/my/orders")).path == "/signin"

    await eventually(signed_out)
    assert {"session", "refresh"}.isdisjoint(visitor.http.cookies)
    assert is_signed_in(await elsewhere.get("/my/orders"))


async def test_all_other_sessions_end_with_one_button(visitors: Visitors) -> None:
    visitor = await signed_up(visitors)
    others = [await signed_in_elsewhere(visitors, visitor) for _ in range(2)]

    page = await visitor.send(await visitor.get("/my/sessions"), "/my/sessions/end-others")

    assert "All other sessions have ended." in page.text
    for other in others:

        async def signed_out(other: Visitor = other) -> bool:
            return (await other.get("/my/orders")).path == "/signin"

        await eventually(signed_out)


async def test_the_page_says_which_browser_it_is_and_speaks_german(visitors: Visitors) -> None:
    visitor = await signed_up(visitors, "de-DE")
    visitor.http.headers.encoding = "latin-1"  # which a browser may send, and no service takes
    visitor.http.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0 \u00e4"
    assert visitor.user
    await visitor.send(await visitor.get("/signin"), "/signin", email=visitor.user.email, password=PASSWORD)

    page = await visitor.get("/my/sessions")

    assert "Deine Sitzungen" in page.text
    assert "Firefox, Linux" in page.text
    assert "127.0.0.0/24" in page.text


async def test_signing_out_ends_the_session_and_the_browser_forgets_its_pages(visitors: Visitors) -> None:
    visitor = await signed_up(visitors)
    stolen = {"Cookie": f"session={visitor.http.cookies['session']}; refresh={visitor.http.cookies['refresh']}"}

    page = await visitor.send(await visitor.get("/"), "/signout")

    assert page.answer.history[0].headers["clear-site-data"] == '"cache", "storage"'
    assert {"session", "refresh"}.isdisjoint(visitor.http.cookies)

    async def worthless() -> bool:
        return Page(await visitor.http.get("/my/orders", headers=stolen)).path == "/signin"

    await eventually(worthless)


async def test_a_live_stream_ends_with_its_session(visitors: Visitors) -> None:
    visitor = await signed_up(visitors)
    other = await signed_in_elsewhere(visitors, visitor)
    async with (
        visitor.http.stream("GET", "/live?orders=bought") as mine,
        other.http.stream("GET", "/live?orders=bought") as ended,
    ):
        lines, others = mine.aiter_lines(), ended.aiter_lines()
        for each in (lines, others):
            assert (await anext(each)).startswith("retry")

        await visitor.send(await visitor.get("/my/sessions"), "/my/sessions/end-others")

        await asyncio.wait_for(drained(others), 30)
        going_on = asyncio.create_task(drained(lines))
        assert await asyncio.wait([going_on], timeout=0.5) == (set(), {going_on})
        going_on.cancel()

    async with asyncio.timeout(30):
        again = await other.http.get("/live?orders=bought", headers={"Cookie": "refresh=" + "a" * 64})
    assert "event: gone" in again.text


async def test_a_live_stream_ends_when_its_access_token_expires(visitors: Visitors, stack: Stack) -> None:
    visitor = await signed_up(visitors)
    assert visitor.user
    expires = time.time() + 8
    token = Tokens(stack.keys.private_key).token(visitor.user, exp=expires)
    visitor.http.cookies.clear()

    async with asyncio.timeout(30):
        answer = await visitor.http.get("/live?orders=bought", headers={"Cookie": f"session={token}"})

    assert "event: news" in answer.text
    assert time.time() >= expires


async def test_auth_away_is_no_sign_out(visitors: Visitors, stack: Stack) -> None:
    visitor = await signed_up(visitors)
    cookies = {"Cookie": f"refresh={visitor.http.cookies['refresh']}"}
    visitor.http.cookies.clear()
    async with away(stack, "auth"):
        answer = await visitor.http.get("/", headers=cookies)
        assert "set-cookie" not in answer.headers or "refresh" not in SimpleCookie(answer.headers["set-cookie"])
    visitor.http.cookies.clear()
    assert is_signed_in(Page(await visitor.http.get("/", headers=cookies)))


async def test_auth_knows_the_device_again_that_signs_in_on_a_page(visitors: Visitors) -> None:
    ada = await signed_up(visitors)
    assert ada.user
    elsewhere = await signed_in_elsewhere(visitors, ada)
    device = elsewhere.http.cookies["device"]

    await elsewhere.send(await elsewhere.get("/signin"), "/signin", email=ada.user.email, password=PASSWORD)
    assert elsewhere.http.cookies["device"] == device
    bea = await signed_up(visitors)
    assert bea.user
    await elsewhere.send(await elsewhere.get("/signin"), "/signin", email=bea.user.email, password=PASSWORD)
    assert elsewhere.http.cookies["device"] != device, "each device is one account's"
