"""Two browsers of one person: each sees the other's session, and ends it."""

import re
from typing import Any

from playwright.async_api import expect

from tests.support.browsing import PASSWORD, Open, accessible
from tests.support.sessions import person
from tests.support.waiting import eventually


async def test_a_person_sees_the_session_of_another_browser_and_ends_it(opened: Open, size: dict[str, Any]) -> None:
    email = person().email
    here, there = await opened("/signup", **size), await opened("/signin")
    await here.get_by_label("Name").fill("Ada")
    await here.get_by_label("E-mail").fill(email)
    await here.get_by_label("Password").fill(PASSWORD)
    await here.get_by_role("main").get_by_role("button", name="Sign up").click()
    await expect(here.locator("nav .menu summary")).to_have_text("Ada")
    await there.get_by_label("E-mail").fill(email)
    await there.get_by_label("Password").fill(PASSWORD)
    await there.get_by_role("main").get_by_role("button", name="Sign in").click()
    await expect(there.locator("nav .menu summary")).to_have_text("Ada")

    await here.locator("nav .menu summary").click()
    await here.locator("nav .menu").get_by_role("link", name="Your sessions").click()
    await expect(here.get_by_text("This session")).to_be_visible()
    await accessible(here)
    await here.get_by_role("button", name=re.compile(r"^End\s*:")).click()

    await expect(here.get_by_text("The session has ended.")).to_be_visible()
    await expect(here.locator(".row")).to_have_count(1)
    await accessible(here)

    async def sent_to_sign_in() -> bool:
        await there.goto("/my/orders")
        return bool(await there.get_by_role("main").get_by_role("button", name="Sign in").count())

    await eventually(sent_to_sign_in, why="an ended session is refused everywhere in a moment")
    assert not [cookie for cookie in await there.context.cookies() if cookie["name"] in {"session", "refresh"}]

    await here.locator("nav .menu summary").click()
    await here.get_by_role("button", name="Sign out").click()
    await expect(here.get_by_role("link", name="Sign in")).to_be_visible()
    assert "visit" in {cookie["name"] for cookie in await here.context.cookies()}, "only the session's are gone"
