"""The pages of what is not on sale yet, no longer, or not right now."""

from datetime import UTC, datetime, timedelta

from services.web.tests.conftest import Visitors, listed, ordered


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
    refused = await buyer.send(page, f"{item}/order", quantity="1")
    assert (refused.status, "right now" in refused.errors["quantity"]) == (409, True)

    await seller.send(paused, f"{item}/turn/resume")
    await ordered(buyer, item)
