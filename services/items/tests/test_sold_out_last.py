"""Lists that begin with what can be bought, also over several pages."""

from typing import Any

import pytest
from pydantic import ValidationError

from common.events import StockChanged
from items.browsing import Browse

from .conftest import Shop

pytestmark = pytest.mark.usefixtures("answered_by")


async def walked(shop: Shop, between: Any = None, **params: Any) -> list[list[str]]:
    """The titles on each page of a list. `between` happens after the first one."""
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await shop.call("GET", params={"sold_out_last": "true", "limit": 2, **params, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append([item["title"] for item in page["items"]])
        if not page["next"]:
            return pages
        if between and len(pages) == 1:
            await between()
        cursor = {"cursor": page["next"]}


async def stocked(shop: Shop, item: Any, available: int, version: int = 1) -> None:
    """Orders says how many units of an item are left."""
    await shop.events.deliver(StockChanged(item_id=item["id"], stock_version=version, quantity=5, available=available))


@pytest.mark.parametrize(
    "params",
    [{}, {"q": "lamp"}, {"q": "lamp", "sort": "relevance"}, {"sort": "soonest"}],
    ids=["newest", "words", "relevance", "soonest"],
)
async def test_what_cannot_be_bought_comes_after_all_that_can_and_each_once(shop: Shop, params: dict[str, str]) -> None:
    event: dict[str, Any] = {"kind": "event", "starts_at": "2090-05-01T18:00:00Z", "timezone": "UTC"}
    lamps = [await shop.offer(title=f"Lamp {n}", **event) for n in range(7)]
    for number in (6, 5, 4, 2):  # What is newest.
        await stocked(shop, lamps[number], 0)
    assert (await shop.call("POST", f"/{lamps[2]['id']}/pause", shop.seller)).status_code == 200

    pages = await walked(shop, **params)

    assert pages == [["Lamp 3", "Lamp 1"], ["Lamp 0", "Lamp 6"], ["Lamp 5", "Lamp 4"], ["Lamp 2"]]
    total = (await shop.call("GET", params={"sold_out_last": "true", **params})).json()["total"]
    assert total == 7
    assert (await shop.titles(None, **params))[:2] == ["Lamp 6", "Lamp 5"], "only where it is asked for"


async def test_what_sells_out_between_two_pages_is_lost_from_none_of_them(shop: Shop) -> None:
    lamps = [await shop.offer(title=f"Lamp {n}") for n in range(4)]

    async def sell_out() -> None:
        for lamp in lamps[:2]:
            await stocked(shop, lamp, 0)

    assert await walked(shop, sell_out) == [["Lamp 3", "Lamp 2"], ["Lamp 1", "Lamp 0"]]


async def test_a_cursor_of_what_is_sold_out_is_of_no_other_list(shop: Shop) -> None:
    lamps = [await shop.offer(title=f"Lamp {n}") for n in range(3)]
    for lamp in lamps:
        await stocked(shop, lamp, 0)
    page = (await shop.call("GET", params={"sold_out_last": "true", "limit": 1})).json()

    for other in ({}, {"sort": "price"}, {"sold_out_last": "true", "sort": "price"}):
        answer = await shop.call("GET", params={**other, "cursor": page["next"]})
        assert answer.status_code == 422, other


def test_a_cursor_of_no_time_that_there_is_is_refused_with_the_other_parameters() -> None:
    beyond = {"sort": "soonest", "cursor": f"{'9' * 16}~0193a1f27b4c7d5e8f60718293a4b5c6"}
    with pytest.raises(ValidationError, match="out of range"):
        Browse.model_validate(beyond)
