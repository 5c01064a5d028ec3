"""What operators find, read and ask for, without a browser."""

import pytest

from services.web.tests.conftest import Visitors, listed, ordered, shows
from tests.support.waiting import eventually


async def test_an_operator_finds_an_order_in_a_table_and_reads_it_without_noise(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    operator = await visitors.new("Ola", "operator")
    item = await listed(seller, title="Brass telescope, 1890")
    order = await ordered(buyer, item)
    story = f"/operator/orders/{order.path.rpartition('/')[2]}"

    found = await shows(operator, "/operator?q=1890+scope", "Awaiting payment")
    assert ("2 x Brass telescope, 1890" in found.text, "€25.00" in found.text) == (True, True)
    assert f'href="{story}"' in found.answer.text

    page = await shows(operator, story, "change of the stock too")
    assert "orders.stock_changed" not in page.answer.text
    assert "3 of 5 left" in page.text  # What has changed is not hidden.
    assert '<time datetime="' in page.answer.text.partition('class="timeline"')[2]
    assert "orders.stock_changed" in (await operator.get(f"{story}?stock=true")).answer.text


@pytest.mark.timeout(400)
async def test_an_operator_has_the_books_checked_at_once(visitors: Visitors) -> None:
    operator = await visitors.new("Ola", "operator")
    await shows(operator, "/operator/books", "Checked in")

    asked = await operator.send(await operator.get("/operator/books"), "/operator/books/check")
    assert "The records are being checked." in asked.text

    async def checked() -> bool:
        page = await operator.get(f"/operator/books?{asked.answer.url.query.decode()}")
        return "The records are being checked." not in page.text

    await eventually(checked, 300)  # The check that runs when one asks waits up to 120 s for what is on its way.
    assert (await operator.get("/operator/books?asked=1")).status == 200
