"""Passkeys in a browser: people sign in with them, and operators confirm with one what cannot be undone."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from infra.local.commands.running import run_as
from infra.local.stack.stack import Stack
from tests.support.browsing import PASSWORD, Open, accessible, headline, opening
from tests.support.people import People
from tests.support.sessions import Tokens, person
from tests.support.shopping import becomes, money, ok, pay, place, sell
from tests.support.waiting import eventually

DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
"""What Chromium's virtual authenticator is: a phone or a laptop whose owner always agrees."""

WITHOUT_AUTOFILL = "PublicKeyCredential.isConditionalMediationAvailable = async () => false"


@pytest_asyncio.fixture
async def opened_by_name(chromium: Browser, stack: Stack) -> AsyncIterator[Open]:
    """Opens pages of `stack` at its public address: passkeys belong to a name."""
    async with opening(chromium, stack, stack.public_url) as open_page:
        yield lambda path="/", **options: open_page(path, **{"base_url": stack.public_url, **options})


async def with_authenticator(page: Page) -> Page:
    """Give the browser of a page an authenticator."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable", {"enableUI": False})
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    return page


async def signed_up(page: Page, name: str) -> str:
    """Sign up. Returns the address."""
    email = person(name).email
    await page.goto("/signup")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await expect(page.locator("nav .menu summary")).to_have_text(name)
    return email


async def added(page: Page, name: str) -> None:
    """Add a passkey, on the page that has them."""
    await page.goto("/my/security")
    await page.get_by_label("Name of the new passkey").fill(name)
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_text("Your passkey is added.")).to_be_visible()


async def signed_out(page: Page) -> None:
    """Sign out, and open the page to sign in."""
    await page.locator("nav .menu summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in", exact=True)).to_be_visible()
    await page.goto("/signin", wait_until="commit")  # Before it is loaded, an authenticator may lead on.
    await page.wait_for_load_state()


async def granted(page: Page, stack: Stack, email: str) -> None:
    """Make somebody an operator, and wait until web knows that the session of the page is outdated."""
    [token] = [cookie["value"] for cookie in await page.context.cookies() if cookie["name"] == "session"]
    assert await asyncio.to_thread(run_as, "auth", "auth.grant", email, stack=stack) == 0
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:

        async def outdated() -> bool:
            return (await http.get("/operator", headers={"Authorization": f"Bearer {token}"})).status_code != 403

        await eventually(outdated, why="web does not know of the new right")


async def mailed(http: httpx.AsyncClient, to: str, subject: str) -> str:
    """Wait for a mail. Returns its text."""

    async def arrived() -> str | None:
        messages = ok(await http.get("/dev/mail.json", params={"to": to}))["messages"]
        return next((str(one["text"]) for one in messages if one["subject"].startswith(subject)), None)

    return await eventually(arrived, why=subject)


async def test_a_person_adds_a_passkey_signs_in_with_it_and_removes_it(
    opened_by_name: Open, people: People, size: dict[str, Any]
) -> None:
    page = await with_authenticator(await opened_by_name("/", **size))
    email, mail = await signed_up(page, "Ada"), await people.anybody()
    await page.locator("nav .menu summary").click()
    await page.locator("nav .menu").get_by_role("link", name="Security").click()
    await accessible(page)
    await added(page, "My laptop")
    await expect(page.locator(".row")).to_contain_text("My laptop")
    await accessible(page)
    await mailed(mail, email, "A passkey was added")

    # The browser offers it by itself where the address is typed; this authenticator takes the offer at once.
    await signed_out(page)
    await expect(page.locator("nav .menu summary")).to_have_text("Ada")

    await page.add_init_script(WITHOUT_AUTOFILL)
    await signed_out(page)
    await accessible(page)
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.locator("nav .menu summary")).to_have_text("Ada")

    await page.goto("/my/security")
    await expect(page.locator(".row")).to_contain_text("last used")
    await page.get_by_text("Rename").click()
    await page.get_by_label("New name").fill("The old laptop")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="The old laptop")).to_be_visible()

    await page.get_by_role("button", name="Make recovery codes").click()
    await expect(headline(page, "Your recovery codes")).to_be_visible()
    await accessible(page)
    await expect(page.locator(".codes code")).to_have_count(10)
    code, *others = await page.locator(".codes code").all_inner_texts()
    assert len(others) == 9
    await page.goto("/my/security")
    await page.get_by_role("button", name=re.compile("^Remove")).click()
    await expect(page.get_by_text("The passkey is removed.")).to_be_visible()
    await expect(page.locator(".row")).to_have_count(0)
    await mailed(mail, email, "A passkey was removed")

    await signed_out(page)
    await page.get_by_role("link", name="Use a recovery code").click()
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Recovery code").fill(code)
    await accessible(page)
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("You have 9 unused codes.")).to_be_visible()
    assert "Codes left: 9" in await mailed(mail, email, "A recovery code was used")


async def test_without_scripts_the_page_says_so_and_the_rest_works(opened_by_name: Open) -> None:
    page = await opened_by_name("/", java_script_enabled=False)
    await signed_up(page, "Ada")
    await page.goto("/my/security")
    await expect(page.get_by_text("Passkeys need JavaScript.")).to_be_visible()
    await expect(page.get_by_role("button", name="Add a passkey")).to_be_hidden()
    await page.get_by_role("button", name="Make recovery codes").click()
    await expect(headline(page, "Your recovery codes")).to_be_visible()


async def test_an_operator_confirms_with_the_passkey_what_cannot_be_undone(
    opened_by_name: Open, people: People, stack: Stack
) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bo")
    order = (await place(buyer, await sell(seller, 2)))["id"]
    await pay(buyer, order, "pm_card_refund_fails")
    await becomes(buyer, order, "paid")
    ok(await seller.http.post(f"/api/orders/{order}/refund"), 202)
    await money(buyer, order, "refund_failed")
    page = await with_authenticator(await opened_by_name())
    email = await signed_up(page, "Ola")
    await added(page, "Ola's key")
    await granted(page, stack, email)

    # The password has opened this session: before anything that is for operators, the passkey is asked for.
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(answer.url) if answer.status == 403 else None)
    await page.goto("/operator/payments")
    failed = page.locator(".troubles li", has_text=order)
    await expect(failed).to_be_visible()
    assert len(asked) == 1

    # Five minutes later it is asked for once more, and the form that was sent goes on by itself.
    await age_proof(page, stack, 301)
    await failed.get_by_label("Or say how the money went back").fill("Paid by bank transfer")
    await failed.get_by_role("button", name="Settled by hand").click()
    await expect(page.get_by_text("The refund is settled.")).to_be_visible()
    assert len(asked) == 2


async def age_proof(page: Page, stack: Stack, seconds: int) -> None:
    """Put an access token into the browser that says that the last proof is so old."""
    [cookie] = [cookie for cookie in await page.context.cookies() if cookie["name"] == "session"]
    claims = jwt.decode(cookie["value"], options={"verify_signature": False})
    claims["proved_at"] -= seconds
    kid = jwt.get_unverified_header(cookie["value"])["kid"]
    token = jwt.encode(claims, stack.keys.private_key, algorithm="EdDSA", headers={"kid": kid})
    await page.context.add_cookies([{"name": "session", "value": token, "domain": "localhost", "path": "/"}])


async def test_who_does_not_confirm_may_try_again(opened_by_name: Open) -> None:
    page = await opened_by_name()
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable", {"enableUI": False})
    made = await session.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    await signed_up(page, "Ada")
    await added(page, "Phone")

    await session.send(
        "WebAuthn.setUserVerified", {"authenticatorId": made["authenticatorId"], "isUserVerified": False}
    )
    await page.get_by_role("button", name=re.compile("^Remove")).click()
    await expect(page.get_by_text("You have not confirmed it.")).to_be_visible()
    await accessible(page)
    await session.send("WebAuthn.setUserVerified", {"authenticatorId": made["authenticatorId"], "isUserVerified": True})
    await page.get_by_role("button", name="Use your passkey").click()

    await expect(page.get_by_text("The passkey is removed.")).to_be_visible()


def link_in(text: str) -> str:
    """The link with a token in the text of a mail."""
    [link] = set(re.findall(r"http://\S+\?token=[\w.-]+", text))
    return str(link)


async def test_an_operator_without_a_passkey_is_sent_to_add_one(people: People, stack: Stack) -> None:
    token = Tokens(stack.keys.private_key).token(person("Ola", "operator"), has_passkey=True)
    browser = await people.anybody()
    answer = await browser.get("/operator", headers={"Cookie": f"session={token}"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/my/security?note=passkey_needed")
