"""Operators make others operators and end that, in a browser: with a passkey, and without scripts."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from infra.local.stack.stack import Stack
from tests.support.browsing import Open, accessible, headline, refused
from tests.support.people import People
from tests.web.test_passkeys import (  # noqa: F401 - a fixture
    added,
    age_proof,
    granted,
    opened_by_name,
    signed_up,
    with_authenticator,
)

pytestmark = pytest.mark.prove


async def made_operator(page: Page, stack: Stack, name: str = "Ola") -> str:
    """Sign up, and be made an operator by whoever runs Souk. Returns the address."""
    email = await signed_up(page, name)
    await granted(page, stack, email)
    return email


async def test_an_operator_confirms_with_the_passkey_who_is_to_be_one(
    opened_by_name: Open,  # noqa: F811
    people: People,
    stack: Stack,
) -> None:
    page, bo = await with_authenticator(await opened_by_name()), await people.signed_up("Bo")
    email = await signed_up(page, "Ola")
    await added(page, "Ola's key")
    await granted(page, stack, email)
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(answer.url) if answer.status == 403 else None)
    await page.goto("/operator/people")
    await expect(headline(page, "Who is an operator?")).to_be_visible()
    await expect(page.get_by_role("row", name=bo.user.email)).to_have_count(0)
    assert len(asked) == 1

    # Five minutes later it is asked for once more, and the form that was sent goes on by itself.
    await age_proof(page, stack, 301)
    await page.get_by_label("E-mail").fill(bo.user.email)
    await page.get_by_role("button", name="Make them an operator").click()
    await expect(page.get_by_text("This person is an operator now")).to_be_visible()
    assert len(asked) == 2

    await age_proof(page, stack, 301)
    await page.get_by_role("row", name=bo.user.email).get_by_role("button").click()
    await expect(page.get_by_text("The right is taken away")).to_be_visible()
    await expect(page.get_by_role("row", name=bo.user.email)).to_have_count(0)
    assert len(asked) == 3


async def test_the_page_is_accessible_and_works_without_scripts(
    opened: Open, people: People, stack: Stack, size: dict[str, Any]
) -> None:
    bo = await people.signed_up("Bo")
    page = await opened("/", **size)
    await made_operator(page, stack)
    await page.goto("/operator")
    await page.get_by_label("For operators").get_by_role("link", name="Operators").click()
    await expect(headline(page, "Who is an operator?")).to_be_visible()
    await page.get_by_label("E-mail").fill("nobody@souk.test")
    await page.get_by_role("button", name="Make them an operator").click()
    await refused(page, "E-mail", "Nobody has signed up with this address.")
    await accessible(page)

    plain = await opened("/", java_script_enabled=False, **size)
    await made_operator(plain, stack, "Otto")
    await plain.goto("/operator/people")
    await plain.get_by_label("E-mail").fill(bo.user.email)
    await plain.get_by_role("button", name="Make them an operator").click()
    await expect(plain.get_by_text("This person is an operator now")).to_be_visible()
    await plain.get_by_role("row", name=bo.user.email).get_by_role("button").click()
    await expect(plain.get_by_text("The right is taken away")).to_be_visible()
