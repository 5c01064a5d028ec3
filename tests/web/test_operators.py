"""What operators do on the site: find an order, read its story, and look at the reconciliation."""

from typing import Any

import pytest
from playwright.async_api import expect

from common.ids import new_id
from infra.local.stack.stack import Stack
from tests.support.browsing import PHONE, Open, accessible, headline, refused, signed_in
from tests.support.late_money import bank_waiting
from tests.support.people import People, Person
from tests.support.shopping import becomes, money, ok, order, pay, place, sell
from tests.support.waiting import eventually

pytestmark = pytest.mark.prove


async def recorded(operator: Person, order_id: str, subject: str) -> None:
    """Wait until audit has this event of the order."""

    async def known() -> bool:
        answer = await operator.http.get(f"/api/audit/orders/{order_id}")
        return answer.status_code == 200 and subject in [entry["subject"] for entry in answer.json()["story"]]

    await eventually(known, 30)


async def paid_late_and_released(stack: Stack, people: People) -> tuple[str, str]:
    """An order paid after somebody else had bought the last unit. Returns its id and its buyer's e-mail address."""
    seller, slow, fast = await people.new("Sid"), await people.signed_up("Sue"), await people.new("Flo")
    item = await sell(seller, 1, title="A night in the lighthouse")
    late = await place(slow, item)
    async with bank_waiting(stack, await pay(slow, late["id"], "pm_card_late")):
        await becomes(slow, late["id"], "expired")
        quick = await place(fast, item)
        await pay(fast, quick["id"])
    await money(slow, late["id"], "released")
    assert (await order(slow, late["id"]))["late_payment"] == "rejected"
    return late["id"], slow.user.email


async def test_the_story_of_an_order_that_was_paid_late_and_released(
    hasty_stack: Stack, hasty_opened: Open, hasty_people: People
) -> None:
    operator = await hasty_people.new("Ola", "operator")
    order_id, mail = await paid_late_and_released(hasty_stack, hasty_people)
    for subject in ("expiration.elapsed", "orders.cancelled", "orders.payment_rejected", "payments.released"):
        await recorded(operator, order_id, subject)
    page = await hasty_opened("/signin")
    await signed_in(page, operator)
    await page.goto("/")
    await page.locator("nav .menu summary").click()
    await page.get_by_role("link", name="For operators").click()

    await page.get_by_label("The id of an order").fill("nothing like that")
    await page.get_by_role("button", name="Find").click()
    await expect(page.get_by_text("Nothing found.")).to_be_visible()
    await page.get_by_label("The id of an order").fill(mail)
    await page.get_by_role("button", name="Find").click()
    await accessible(page)
    await page.get_by_role("link", name="A night in the lighthouse").click()

    await expect(headline(page, "A night in the lighthouse × 1")).to_be_visible()
    rows = [await row.inner_text() for row in await page.locator(".timeline h3").all()]
    expected = [
        "Units held for the buyer",
        "The hold ran out",
        "Units back on sale",
        "Payment authorized",
        "Payment rejected, it will be released or refunded",
        "Authorization released, nothing was charged",
    ]
    assert [row for row in rows if row in expected] == expected
    rejected = page.locator(".timeline li", has_text="Payment rejected")
    await expect(rejected.get_by_role("link", name="Payment authorized")).to_be_visible()
    await accessible(page)

    slider = page.get_by_label("Go to a moment of the story")
    await slider.press("Home")
    await expect(page.locator("#moment .tile", has_text="Order")).to_contain_text("Awaiting payment")
    await expect(page.locator(".timeline li").first).to_have_attribute("aria-current", "step")
    await slider.press("End")
    await expect(page.locator("#moment .tile", has_text="Order")).to_contain_text("A late payment was rejected")
    await expect(page.locator("#moment .tile", has_text="Payment").last).to_contain_text("Released")

    phone = await hasty_opened("/signin", **PHONE)
    await signed_in(phone, operator)
    await phone.goto(f"/operator/orders/{order_id}?at=0")
    await expect(phone.locator("#moment .tile", has_text="Order")).to_contain_text("Awaiting payment")
    await accessible(phone)


async def test_the_story_is_there_without_javascript(hasty_opened: Open, hasty_people: People) -> None:
    operator, seller, buyer = [
        await hasty_people.new(name, *roles) for name, roles in (("Ola", ("operator",)), ("Sid", ()), ("Bo", ()))
    ]
    placed = await place(buyer, await sell(seller, 3), 2)
    await pay(buyer, placed["id"])
    await becomes(buyer, placed["id"], "paid")
    await recorded(operator, placed["id"], "orders.paid")
    page = await hasty_opened("/signin", java_script_enabled=False)
    await signed_in(page, operator)

    await page.goto(f"/operator/orders/{placed['id']}?at=0")
    await expect(page.locator("#moment .tile", has_text="Order")).to_contain_text("Awaiting payment")
    await page.get_by_role("link", name="The item's story").click()
    await expect(page.get_by_role("link", name="2 x A seat at the opera")).to_be_visible()


async def test_only_operators_see_it(opened: Open, people: People) -> None:
    page = await opened("/operator")
    assert page.url.endswith("/signin?next=%2Foperator")
    await signed_in(page, await people.new("Bo"))
    story = f"/operator/orders/{new_id()}"
    for path in ("/operator", "/operator/payments", "/operator/dead-letters", "/operator/books", story):
        await page.goto(path)
        await expect(headline(page, "This page is for operators")).to_be_visible()
    await page.goto("/")
    await page.locator("nav .menu summary").click()
    await expect(page.get_by_role("link", name="For operators")).to_have_count(0)


async def test_the_reconciliation_is_a_page(hasty_opened: Open, hasty_people: People, size: dict[str, Any]) -> None:
    operator = await hasty_people.new("Ola", "operator")

    async def checked() -> bool:
        return (await operator.http.get("/api/audit/reconciliation")).status_code == 200

    await eventually(checked, 60)
    page = await hasty_opened("/signin", **size)
    await signed_in(page, operator)
    await page.goto("/operator/books")
    await expect(page.get_by_text("No unit is in two live orders")).to_be_visible()
    await accessible(page)
    assert ok(await operator.http.get("/api/audit/reconciliation"))["violations"] == []


async def test_a_refund_that_failed_is_settled_by_hand(opened: Open, people: People, size: dict[str, Any]) -> None:
    operator, seller, buyer = [
        await people.new(name, *roles) for name, roles in (("Ola", ("operator",)), ("Sid", ()), ("Bo", ()))
    ]
    item = await sell(seller, 2)
    refunded, disputed = [(await place(buyer, item))["id"] for _ in range(2)]
    for order_id, card in ((refunded, "pm_card_refund_fails"), (disputed, "pm_card_disputed")):
        await pay(buyer, order_id, card)
    await becomes(buyer, refunded, "paid")
    ok(await seller.http.post(f"/api/orders/{refunded}/refund"), 202)
    await money(buyer, refunded, "refund_failed")
    await money(buyer, disputed, "disputed")
    page = await opened("/signin", **size)
    await signed_in(page, operator)
    await page.goto("/operator")
    await page.get_by_label("For operators").get_by_role("link", name="Payments").click()
    failed = page.locator(".troubles li", has_text=refunded)
    await expect(page.locator(".troubles li", has_text=disputed)).to_contain_text("Disputed, not decided yet")
    await accessible(page)

    await failed.get_by_label("Or say how the money went back").fill(" ")
    await failed.get_by_role("button", name="Settled by hand").click()
    await refused(page, "Or say how the money went back", "Enter how the money went back")
    await accessible(page)
    await failed.get_by_label("Or say how the money went back").fill("Paid by bank transfer")
    await failed.get_by_role("button", name="Settled by hand").click()

    await expect(page.get_by_text("The refund is settled.")).to_be_visible()
    await expect(failed).to_have_count(0)
    await recorded(operator, refunded, "payments.refunded")


async def test_the_actions_about_an_order_and_the_list_of_attendees_are_accessible(
    opened: Open, people: People, size: dict[str, Any]
) -> None:
    operator, seller, buyer = [
        await people.new(name, *roles) for name, roles in (("Ola", ("operator",)), ("Sid", ()), ("Bo", ()))
    ]
    when = {"kind": "event", "starts_at": "2030-06-07T18:00:00Z", "timezone": "Europe/Berlin"}
    offer = {"title": "A night in the lighthouse", "price": 1250, "currency": "EUR", "quantity": 5, **when}
    item = ok(await seller.http.post("/api/items", json=offer), 201)["id"]
    paid, held = [(await place(buyer, item))["id"] for _ in range(2)]
    await pay(buyer, paid)
    await recorded(operator, paid, "orders.paid")
    await recorded(operator, held, "orders.placed")
    page = await opened("/signin", **size)
    await signed_in(page, operator)
    for order_id, action in ((paid, "Refund"), (held, "Cancel the order")):
        await page.goto(f"/operator/orders/{order_id}")
        for panel in (action, "Write to the buyer or the seller"):
            await page.locator("summary", has_text=panel).press("Enter")
        await expect(page.get_by_label("Message")).to_be_visible()
        await accessible(page)
    await page.get_by_label("the buyer").uncheck()
    await page.get_by_label("Message").fill("The doors open later.")
    await page.get_by_role("button", name="Send the message").click()
    await expect(page.get_by_role("group", name="Who gets it")).to_have_accessible_description("Choose who gets it.")
    await accessible(page)

    async def listed() -> bool:
        answer = await seller.http.get("/api/tickets/attendees", params={"item_id": item})
        return bool(answer.is_success and answer.json()["items"])

    await signed_in(page, seller)
    await page.goto(f"/items/{item}/attendees")
    await accessible(page)
    await eventually(listed, 60)
    await page.reload()
    await expect(page.get_by_role("rowheader", name="Bo")).to_be_visible()
    await accessible(page)
