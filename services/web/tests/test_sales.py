"""What a seller reads about sales: totals, a chart, filters, and a file that no spreadsheet runs."""

import csv
import io
from datetime import date

import pytest

from common.events import Currency
from common.order_numbers import readable_number
from services.web.tests.conftest import Visitors, listed, ordered, shows
from web.clients.sales import Day, Money, SalesTotals
from web.rendering.chart import charts_of
from web.rendering.i18n import i18n_for
from web.rendering.spreadsheet import BOM, row

FORMULA = '=HYPERLINK("https://evil.test")'


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", " ="])
def test_no_text_becomes_a_formula(start: str) -> None:
    [[written, number]] = csv.reader(io.StringIO(row([f"{start}1+1", -5]), newline=""))
    assert written == f"'{start}1+1"
    assert number == "-5"


def test_a_text_with_commas_and_quotes_is_one_cell() -> None:
    assert list(csv.reader(io.StringIO(row(['A "big", red lamp']), newline=""))) == [['A "big", red lamp']]


def sold(first: str, last: str, **by_day: int) -> SalesTotals:
    """Totals with a revenue on some days."""
    days = [
        Day(day=date.fromisoformat(day.strip("d").replace("_", "-")), currency=Currency.EUR, units=1, revenue=revenue)
        for day, revenue in by_day.items()
    ]
    revenue = sum(by_day.values())
    money = Money(currency=Currency.EUR, orders=len(days), units=len(days), revenue=revenue, refunded=0, held=0)
    return SalesTotals(
        first=date.fromisoformat(first), last=date.fromisoformat(last), currencies=[money], days=days, items=[]
    )


def test_a_bar_is_a_day_and_an_empty_day_has_one_too() -> None:
    totals = sold("2027-05-01", "2027-05-04", d2027_05_02=5000, d2027_05_04=2500)
    revenue, units = charts_of(totals, i18n_for("en_GB"))
    assert [bar.height for bar in revenue.bars] == [0, 100, 0, 50]
    assert revenue.summary == (
        "Revenue · by day, 1 May 2027 to 4 May 2027: €75.00 in all, most on 2 May 2027 with €50.00."
    )
    assert [bar.value for bar in units.bars] == ["0", "1", "0", "1"]


def test_many_days_are_weeks() -> None:
    totals = sold("2027-01-01", "2027-12-31", d2027_01_07=100, d2027_01_08=300, d2027_12_31=100)
    revenue, _ = charts_of(totals, i18n_for("en_GB"))
    assert len(revenue.bars) == 53
    assert [bar.value for bar in revenue.bars[:2]] == ["€1.00", "€3.00"]
    assert revenue.bars[-1].value == "€1.00"


def test_without_a_sale_no_bar_is_tall() -> None:
    revenue, _ = charts_of(sold("2027-05-01", "2027-05-02"), i18n_for("en_GB"))
    assert [bar.height for bar in revenue.bars] == [0, 0]


async def test_a_seller_chooses_among_sales_and_takes_them_along(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller, title=FORMULA)
    other = await listed(seller, title="A chair")
    order = await ordered(buyer, item)
    await ordered(buyer, other, quantity="1")

    page = await shows(seller, "/my/sales", "Held, not paid yet")
    assert "€37.50" in page.text
    assert "Revenue · by day" in page.text
    one = await seller.get(f"/my/sales?item_id={other.rpartition('/')[2]}&status=awaiting_payment&from=2000-01-01")
    assert ("for Bo · 1 ×" in one.text, "for Bo · 2 ×" in one.text) == (True, False)
    assert "No order is like that." in (await seller.get("/my/sales?status=refunded")).text
    assert (await seller.get("/my/sales?status=no&from=never&item_id=x")).status == 200

    answer = await seller.http.get(f"/my/sales.csv?item_id={item.rpartition('/')[2]}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.startswith(BOM)
    _, cells = csv.reader(io.StringIO(answer.text, newline=""))
    order_id = order.path.rpartition("/")[2]
    assert cells[0] == readable_number(order_id)
    assert cells[2:] == [f"'{FORMULA}", "Bo", "2", "12.50", "25.00", "EUR", "Awaiting payment", order_id]
    assert len((await buyer.http.get("/my/sales.csv")).text.splitlines()) == 1  # nobody else's


async def test_an_order_is_found_by_the_number_that_its_buyer_reads_out(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller)
    order, other = await ordered(buyer, item), await ordered(buyer, item, quantity="1")
    number, of_other = (readable_number(page.path.rpartition("/")[2]) for page in (order, other))

    for path in (order.path, "/my/orders"):
        assert number in (await buyer.get(path)).text, path
    for typed in (number, number.lower().replace("-", " "), order.path.rpartition("/")[2]):
        page = await seller.get(f"/my/sales?number={typed}")
        assert (number in page.text, of_other in page.text) == (True, False), typed
    for path in ("/my/sales?number=nonsense", f"/my/sales?number={number}&status=refunded"):
        assert "No order is like that." in (await seller.get(path)).text
    assert "No order is like that." in (await buyer.get(f"/my/sales?number={number}")).text  # It is not their sale.


async def test_a_buyer_sees_orders_by_tab_with_the_time_left(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller)
    await ordered(buyer, item)

    page = await shows(buyer, "/my/orders?show=open", "Time left to pay:")
    assert 'aria-current="page">To be paid' in page.answer.text
    assert "There is no order here." in (await buyer.get("/my/orders?show=upcoming")).text
    assert "Desk lamp" in (await buyer.get("/my/orders?show=nothing")).text
