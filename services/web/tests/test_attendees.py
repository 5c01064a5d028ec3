"""The attendee list of an event, on a page and as a file."""

import csv
import io

from common.order_numbers import readable_number
from services.web.tests.conftest import Visitors, listed, ordered, paid, shows

EVENT = {"kind": "event", "starts_at": "2030-06-07T20:00", "timezone": "Europe/Berlin"}


async def test_a_seller_sees_who_comes_and_takes_the_list_along(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("=Bo()")
    item = await listed(seller, title="A concert", **EVENT)
    order = await ordered(buyer, item)
    order_id = order.path.rpartition("/")[2]
    assert "Nobody has a ticket yet." in (await shows(seller, f"{item}/attendees", "A concert")).text
    await paid(buyer, order)

    page = await shows(seller, f"{item}/attendees", "Valid")
    assert page.answer.text.count('<th scope="row">=Bo()</th>') == 2
    assert f'href="{item}/attendees"' in (await seller.get(f"/my/sales?item_id={item.rpartition('/')[2]}")).answer.text

    answer = await seller.http.get(f"{item}/attendees.csv")
    _, first, second = csv.reader(io.StringIO(answer.text, newline=""))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert first[1:] == second[1:] == ["'=Bo()", "Valid", "", readable_number(order_id)]
    assert {cells[0].rpartition("-")[2] for cells in (first, second)} == {"1", "2"}
    for address in (f"{item}/attendees", f"{item}/attendees.csv"):
        assert (await buyer.get(address)).status == 403
