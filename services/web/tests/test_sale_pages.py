"""The pages of what is not on sale yet, no longer, or not right now."""

from datetime import UTC, datetime, timedelta

import pytest

from services.web.tests.conftest import LAMP, Visitors, in_effect, listed, ordered, paid, shows
from web.clients.api import Refused
from web.clients.models import Item
from web.pages.catalogue import refusal
from web.rendering.i18n import i18n_for


def typed(moment: datetime) -> str:
    """How a browser sends a date and a time."""
    return moment.strftime("%Y-%m-%dT%H:%M")


async def test_a_page_says_when_the_sale_starts_and_that_it_is_over(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    starts = datetime.now(UTC) + timedelta(days=2)
    wrong = await seller.send(await seller.get("/sell"), "/sell", title="A lamp", price="5", sale_starts_at="soon")
    assert (wrong.status, "sale_starts_at" in wrong.errors) == (422, True)
    item = await listed(seller, sale_starts_at=typed(starts))
    assert (await seller.get(f"{item}/edit")).form(f"{item}/edit").fields["sale_starts_at"] == typed(starts)

    page = await buyer.get(item)
    assert "The sale starts on" in page.text
    assert "Not on sale yet" in page.text

    over = await seller.send(
        await seller.get(f"{item}/edit"),
        f"{item}/edit",
        currency="EUR",
        sale_starts_at=typed(starts - timedelta(days=4)),
        sale_ends_at=typed(starts - timedelta(days=3)),
    )
    assert over.status == 200, over.text
    assert "Sale over" in (await buyer.get(item)).text

    await seller.send(await seller.get(f"{item}/edit"), f"{item}/edit", currency="EUR", sale_ends_at="")
    await ordered(buyer, item)


async def test_who_orders_too_early_or_too_late_is_told_so(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item, moved = await listed(seller), datetime(2090, 5, 1, 20, tzinfo=UTC)
    page = await buyer.get(item)
    await seller.send(await seller.get(f"{item}/edit"), f"{item}/edit", currency="EUR", sale_starts_at=typed(moved))
    await in_effect(seller, item)

    early = await buyer.send(page, f"{item}/order", quantity="1")

    assert (early.status, early.errors["quantity"][:34]) == (409, "The sale starts on Mon, 1 May 2090")


async def test_a_draft_is_published_paused_and_sold_again(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller, draft="yes")
    assert (await buyer.get(item)).status == 404
    draft = await seller.get(item)
    assert "only you can see it" in draft.text

    published = await seller.send(draft, f"{item}/turn/publish")
    page = await buyer.get(item)
    assert (published.path, page.status) == (item, 200)

    paused = await seller.send(published, f"{item}/turn/pause")
    assert "Not for sale right now" in (await buyer.get(item)).text
    await in_effect(seller, item)
    refused = await buyer.send(page, f"{item}/order", quantity="1")
    assert (refused.status, "right now" in refused.errors["quantity"]) == (409, True)

    await seller.send(paused, f"{item}/turn/resume")
    await ordered(buyer, item)


async def test_what_is_held_may_come_back_and_what_is_paid_is_sold(visitors: Visitors) -> None:
    seller, buyer, late = await visitors.new("Sella"), await visitors.new("Bo"), await visitors.new("Cy")
    item = await listed(seller, quantity="2")
    page, order = await late.get(item), await ordered(buyer, item, quantity="2")
    await shows(late, item, "Reserved, may come back")
    await shows(seller, "/my/items", "0 sold, 2 held, 0 free")
    refused = await late.send(page, f"{item}/order", quantity="1")
    assert "all of it is reserved" in refused.errors["quantity"]

    await paid(buyer, order)
    await shows(seller, "/my/items", "2 sold, 0 held, 0 free")
    await shows(late, item, "Sold out")

    await seller.send(await seller.get(f"{item}/edit"), f"{item}/withdraw")
    sale = f"/my/sales{order.path.removeprefix('/orders')}/refund"
    await seller.send(await seller.get("/my/sales"), sale)
    await shows(seller, "/my/items", "0 sold, 0 held")


async def test_a_single_thing_is_not_running_out(visitors: Visitors) -> None:
    item = await listed(await visitors.new("Sella"), quantity="1")
    page = await (await visitors.anybody()).get(item)
    assert ("Only" in page.text, "Available" in page.text) == (False, True)


@pytest.mark.parametrize(
    ("shown", "held", "counted", "words"),
    [
        (3, 0, {"available": 1}, "Only 1 is left."),
        (0, 3, {"available": 2}, "Only 2 are left."),
        (3, 0, {}, "Only 3 are left."),  # orders of the release before
        (3, 0, {"available": 0}, "Somebody was faster: all of it is reserved."),
        (0, 1, {"available": 0}, "Somebody was faster: all of it is reserved."),
        (0, 0, {"available": 0}, "Somebody was faster: this is sold out."),
    ],
)
def test_who_comes_too_late_is_told_what_orders_has_counted(
    shown: int, held: int, counted: dict[str, int], words: str
) -> None:
    known = {"id": "i", "seller_id": "s", "seller_name": "Sella", "description": "", "status": "listed", "version": 1}
    units = {"item_id": "i", "sold": 5 - shown - held, "held": held}
    item = Item.model_validate({**LAMP, **known, "price": 1250, "quantity": 5, "available": shown, "units": units})
    refused = Refused(409, "sold_out", "only a few left", frozenset(), counted)
    assert refusal(refused, item, i18n_for("en")).startswith(words)


@pytest.mark.parametrize(
    ("offered", "left", "few"),
    [(5, 5, False), (5, 3, False), (5, 2, True), (2, 1, True), (1, 1, False), (100, 5, True), (100, 6, False)],
)
def test_few_are_left_when_at_least_half_has_gone(offered: int, left: int, few: bool) -> None:
    known = {"id": "i", "seller_id": "s", "seller_name": "Sella", "description": "", "status": "listed", "version": 1}
    item = Item.model_validate({**LAMP, **known, "price": 1250, "quantity": offered, "available": left})
    assert item.is_few(left) is few


async def test_nobody_is_hurried_to_what_nobody_has_bought(visitors: Visitors) -> None:
    item = await listed(await visitors.new("Sella"), quantity="5")
    buyer = await visitors.new("Bo")
    page = await buyer.get(item)
    assert ("Only" in page.text, "5 left" in page.text) == (False, True)
    await ordered(buyer, item, quantity="3")
    await shows(buyer, item, "Only 2 left")


async def test_the_limit_of_a_hold_is_named_and_what_was_cancelled_is_held_again(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller, quantity="20")
    page = await buyer.get(item)
    assert "You can hold 10 at a time." in page.text
    order = await ordered(buyer, item, quantity="2")
    refused = await buyer.send(page, f"{item}/order", quantity="9")
    assert refused.errors["quantity"].startswith("One person may hold 10 of this at a time.")

    cancelled = await buyer.send(order, f"{order.path}/cancel")
    again = await buyer.send(cancelled, f"{item}/order")
    assert again.path.startswith("/orders/")
    assert again.path != order.path
    assert LAMP["title"] in again.text


async def test_an_event_that_is_over_says_so_and_is_found_by_nobody(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    assert seller.user
    begins = datetime.now(UTC) + timedelta(days=2)
    event = {"kind": "event", "timezone": "UTC", "title": "Quixotic evening", "venue": "The hall", "city": "Ulm"}
    item = await listed(seller, **event, starts_at=typed(begins))
    page = await shows(buyer, "/?q=quixotic", "1 offer")
    assert item in (await buyer.http.get("/sitemap.xml")).text

    page = await buyer.get(item)
    past = await seller.send(
        await seller.get(f"{item}/edit"),
        f"{item}/edit",
        **event,
        currency="EUR",
        starts_at=typed(begins - timedelta(days=4)),
    )
    assert past.status == 200, past.text
    await shows(seller, item, "This event is over.")
    await in_effect(seller, item)

    refused = await buyer.send(page, f"{item}/order", quantity="1")
    assert (refused.status, refused.errors["quantity"]) == (409, "This event is over.")
    shown = await buyer.get(item)
    assert "This event is over" in shown.text
    assert "InStock" not in shown.answer.text
    for path in ("/?q=quixotic", "/cities/Ulm", f"/sellers/{seller.user.id}", "/sitemap.xml"):
        assert item not in (await buyer.http.get(path)).text, path
    assert item in (await seller.http.get("/my/items")).text
