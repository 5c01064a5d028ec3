"""What its seller has not published yet, and what they do not sell right now."""

import pytest

from common.events import ItemChanged, ItemListed, UserErased
from tests.support.sessions import person

from .conftest import LAMP, Shop


async def act(shop: Shop, item_id: str, what: str) -> tuple[int, str]:
    """What the seller gets: the HTTP status, and the item's status or the code of the problem."""
    answer = await shop.call("POST", f"/{item_id}/{what}", shop.seller)
    return answer.status_code, answer.json().get("code") or answer.json()["status"]


async def test_a_draft_is_there_for_its_seller_alone_until_it_is_published(shop: Shop) -> None:
    draft, other = await shop.offer(draft=True), person()
    path = f"/{draft['id']}"
    assert draft["status"] == "draft"
    for who in (None, other):
        assert (await shop.call("GET", path, who)).json()["code"] == "item_not_found"
    assert (await shop.call("PATCH", path, other, json={"price": 1})).json()["code"] == "item_not_found"
    assert (await shop.call("POST", f"{path}/publish", other)).json()["code"] == "item_not_found"
    assert (await shop.call("GET", path, shop.seller)).json()["status"] == "draft"
    assert (await shop.titles(), await shop.titles(other, seller_id=shop.seller.id)) == ([], [])
    assert await shop.titles(shop.seller, seller_id=shop.seller.id) == [LAMP["title"]]
    assert await act(shop, draft["id"], "pause") == await act(shop, draft["id"], "resume") == (409, "item_is_draft")

    assert await act(shop, draft["id"], "publish") == await act(shop, draft["id"], "publish") == (200, "listed")

    assert (await shop.call("GET", path)).json()["status"] == "listed"
    assert await shop.titles() == [LAMP["title"]]
    [listed], [published] = await shop.events.published(ItemListed), await shop.events.published(ItemChanged)
    assert (listed.status, published.status, published.item_version) == ("draft", "listed", 2)


async def test_a_draft_that_is_thrown_away_was_never_there_for_others(shop: Shop) -> None:
    draft = await shop.offer(draft=True)
    await shop.call("DELETE", f"/{draft['id']}", shop.seller)

    assert (await shop.call("GET", f"/{draft['id']}")).status_code == 404
    assert (await shop.call("GET", f"/{draft['id']}", shop.seller)).json()["status"] == "withdrawn"
    assert await act(shop, draft["id"], "publish") == (409, "item_withdrawn")


async def test_a_pause_can_be_ended_and_a_withdrawal_cannot(shop: Shop) -> None:
    item = await shop.offer()
    path = f"/{item['id']}"

    assert await act(shop, item["id"], "pause") == await act(shop, item["id"], "pause") == (200, "paused")
    assert (await shop.call("GET", path)).json()["status"] == "paused"
    assert await shop.titles() == [LAMP["title"]]
    assert (await shop.call("PATCH", path, shop.seller, json={"price": 999})).json()["status"] == "paused"
    assert await act(shop, item["id"], "resume") == await act(shop, item["id"], "publish") == (200, "listed")
    assert (await shop.call("POST", f"{path}/pause", person())).json()["code"] == "not_owner"

    await act(shop, item["id"], "pause")
    assert (await shop.call("DELETE", path, shop.seller)).json()["status"] == "withdrawn"
    assert await act(shop, item["id"], "resume") == await act(shop, item["id"], "pause") == (409, "item_withdrawn")


@pytest.mark.parametrize("draft", [True, False])
async def test_what_an_erased_seller_has_not_published_or_has_paused_is_withdrawn_too(shop: Shop, draft: bool) -> None:
    item = await shop.offer(draft=draft)
    if not draft:
        await act(shop, item["id"], "pause")

    await shop.events.deliver(UserErased(user_id=shop.seller.id, account_version=2))

    assert (await shop.call("GET", f"/{item['id']}", shop.seller)).json()["status"] == "withdrawn"
