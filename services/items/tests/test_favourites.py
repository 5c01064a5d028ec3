"""What people keep: for themselves alone, a bounded number, until they let it go or delete their account."""

import asyncio
from typing import Any

import pytest

from common.events import UserErased
from tests.support.sessions import person

from .conftest import Shop


async def kept(shop: Shop, user: Any, **params: Any) -> list[tuple[str, str]]:
    """The titles and statuses of all pages."""
    found: list[tuple[str, str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await shop.call("GET", "/favourites", user, params={**params, **cursor})).json()
        found += [(item["title"], item["status"]) for item in page["items"]]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def test_what_somebody_keeps_is_listed_for_them_newest_first_once(shop: Shop) -> None:
    bo, eve = person("Bo"), person("Eve")
    items = {title: (await shop.offer(title=title))["id"] for title in ("Lamp", "Chair", "Table")}

    for title in ("Chair", "Lamp", "Table"):
        answers = await asyncio.gather(*(shop.call("PUT", f"/{items[title]}/favourite", bo) for _ in range(3)))
        assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 3
    await shop.call("PUT", f"/{items['Chair']}/favourite", bo)  # It stays where it is.
    await shop.call("DELETE", f"/{items['Lamp']}", shop.seller)

    assert await kept(shop, bo, limit=1) == [("Table", "listed"), ("Lamp", "withdrawn"), ("Chair", "listed")]
    assert await kept(shop, bo, item_id=[items["Chair"]]) == [("Chair", "listed")]
    assert await kept(shop, eve) == []
    assert (await shop.call("DELETE", f"/{items['Chair']}/favourite", eve)).status_code == 204
    for _ in range(2):
        assert (await shop.call("DELETE", f"/{items['Table']}/favourite", bo)).status_code == 204
    assert [title for title, _ in await kept(shop, bo)] == ["Lamp", "Chair"]


async def test_only_what_one_sees_is_kept_and_so_many(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("items.favourites.store.MOST_KEPT", 1)
    bo, draft = person("Bo"), await shop.offer(draft=True)
    lamps = [(await shop.offer())["id"] for _ in range(2)]

    async def keep(item_id: str) -> tuple[int, Any]:
        answer = await shop.call("PUT", f"/{item_id}/favourite", bo)
        return answer.status_code, answer.json() if answer.content else None

    for unknown in (draft["id"], "nonsense"):
        status, problem = await keep(unknown)
        assert (status, problem["code"]) == (404, "item_not_found")
    assert await keep(lamps[0]) == await keep(lamps[0]) == (204, None)
    status, problem = await keep(lamps[1])
    assert (status, problem["code"], problem["limit"]) == (409, "too_many_favourites", 1)


async def test_who_is_erased_keeps_nothing(shop: Shop) -> None:
    bo, eve = person("Bo"), person("Eve")
    path = f"/{(await shop.offer())['id']}/favourite"
    for user in (bo, eve):
        await shop.call("PUT", path, user)

    await shop.events.deliver(UserErased(user_id=bo.id, account_version=2))

    assert (await shop.call("PUT", path, bo)).json()["code"] == "not_signed_in"
    assert [one["user_id"] async for one in shop.db.favourites.find({})] == [eve.id]
