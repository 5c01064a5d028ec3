"""Pictures over HTTP, with their files in a real MongoDB."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from common.events import ItemChanged
from common.http.sessions import User
from common.mongo.client import Database
from items.main import MAX_PICTURE
from items.picture_store import Key, PictureStore
from tests.support.sessions import person
from tests.support.waiting import eventually

from .conftest import Shop
from .drawing import BLUE, KINDS, RED, encoded, flag, is_like, opened

SIZES = ("small", "medium", "large")

PICTURE = encoded(flag(800, 400), "PNG")


async def files(shop: Shop) -> int:
    """How many files of pictures there are; no chunk is without its file."""
    named = {file["_id"] async for file in shop.db["pictures.files"].find()}
    assert {chunk["files_id"] async for chunk in shop.db["pictures.chunks"].find()} == named
    return len(named)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_picture_that_is_added_is_shown_to_everybody(kind: str, shop: Shop) -> None:
    item = await shop.offer()

    answer = await shop.upload(item["id"], encoded(flag(2000, 1000), kind), KINDS[kind])

    assert answer.status_code == 201, answer.text
    shown = answer.json()
    [picture] = shown["pictures"]
    path = f"/api/items/{item['id']}/pictures/{picture['id']}"
    assert shown == item | {
        "version": 2,
        "pictures": [{"id": picture["id"], **{size: f"{path}/{size}" for size in SIZES}, "x": 50, "y": 50}],
    }
    assert await shop.item(item["id"]) == shown
    assert (await shop.call("GET")).json()["items"] == [shown]
    for size, measures in {"small": (480, 240), "medium": (960, 480), "large": (1600, 800)}.items():
        image = opened((await shop.http.get(picture[size])).content)
        assert (image.format, image.size) == ("WEBP", measures)
        assert is_like(image, (0.1, 0.5), RED)
        assert is_like(image, (0.9, 0.5), BLUE)
    [changed] = await shop.events.published(ItemChanged)
    assert (changed.item_version, changed.pictures) == (2, (picture["id"],))


async def test_a_picture_may_be_kept_for_ever(shop: Shop) -> None:
    item = await shop.offer()
    [picture] = (await shop.upload(item["id"], PICTURE)).json()["pictures"]

    first = await shop.http.get(picture["small"])

    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert first.headers["content-type"] == "image/webp"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert int(first.headers["content-length"]) == len(first.content)
    etag = first.headers["etag"]
    assert etag != (await shop.http.get(picture["large"])).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = await shop.http.get(picture["small"], headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert {again.headers[name] for name in ("etag", "cache-control")} == {etag, first.headers["cache-control"]}
    assert (await shop.http.get(picture["small"], headers={"If-None-Match": '"other"'})).content == first.content


async def test_a_picture_that_the_caller_has_is_not_read(shop: Shop) -> None:
    item = await shop.offer()
    [picture] = (await shop.upload(item["id"], PICTURE)).json()["pictures"]
    await shop.db["pictures.chunks"].delete_many({})  # its bytes

    etag = f'"{picture["id"]}-small"'
    known = await shop.http.get(picture["small"], headers={"If-None-Match": etag})

    assert (known.status_code, known.headers["etag"]) == (304, etag)
    assert (await shop.http.get(picture["small"])).status_code == 404


async def test_a_picture_that_is_removed_is_gone(shop: Shop) -> None:
    item = await shop.offer()
    await shop.upload(item["id"], PICTURE)
    first, second = (await shop.upload(item["id"], PICTURE)).json()["pictures"]

    answer = await shop.call("DELETE", f"/{item['id']}/pictures/{first['id']}", shop.seller)

    assert (answer.status_code, answer.json()["pictures"]) == (200, [second])
    assert await shop.item(item["id"]) == answer.json()
    gone = await shop.http.get(first["small"], headers={"If-None-Match": f'"{first["id"]}-small"'})
    assert (gone.status_code, gone.json()["code"]) == (404, "picture_not_found")
    assert gone.headers["cache-control"] == "no-store"
    assert (await shop.http.get(second["small"])).status_code == 200
    assert await files(shop) == 3
    again = await shop.call("DELETE", f"/{item['id']}/pictures/{first['id']}", shop.seller)
    assert (again.status_code, again.json()["code"]) == (404, "picture_not_found")


async def test_its_seller_says_which_point_of_a_picture_stays_visible(shop: Shop) -> None:
    item = await shop.offer()
    await shop.upload(item["id"], PICTURE)
    first, second = (await shop.upload(item["id"], PICTURE)).json()["pictures"]
    path = f"/{item['id']}/pictures/{first['id']}/focal-point"

    for _ in range(2):  # The same point again is no change.
        answer = await shop.call("PUT", path, shop.seller, json={"x": 0, "y": 100})
        assert (answer.status_code, answer.json()["pictures"]) == (200, [{**first, "x": 0, "y": 100}, second])
    assert await shop.item(item["id"]) == answer.json()
    assert answer.json()["version"] == 4
    [*_, changed] = await shop.events.published(ItemChanged, 3)
    assert changed.focal_points == {first["id"]: (0, 100)}

    assert (await shop.call("PUT", path, person("Eve"), json={"x": 1, "y": 1})).status_code == 403
    for wrong in ({"x": 101, "y": 0}, {"x": 1.5, "y": 0}, {"x": 5}):
        assert (await shop.call("PUT", path, shop.seller, json=wrong)).status_code == 422
    nothing = await shop.call("PUT", path.replace(first["id"], "nothing"), shop.seller, json={"x": 1, "y": 1})
    assert (nothing.status_code, nothing.json()["code"]) == (404, "picture_not_found")

    await shop.call("DELETE", f"/{item['id']}/pictures/{first['id']}", shop.seller)
    document = await shop.db.items.find_one({"_id": item["id"]})
    assert document
    assert document["focal_points"] == {}


async def test_a_picture_of_before_there_was_a_medium_size_is_shown_larger(shop: Shop) -> None:
    item = await shop.offer()
    [picture] = (await shop.upload(item["id"], PICTURE)).json()["pictures"]
    await shop.db["pictures.files"].delete_one({"filename": "medium"})

    shown = await shop.http.get(picture["medium"])
    assert shown.content == (await shop.http.get(picture["large"])).content
    again = await shop.http.get(picture["medium"], headers={"If-None-Match": shown.headers["etag"]})
    assert again.status_code == 304


async def test_a_picture_is_found_under_its_own_item_and_sizes_only(shop: Shop) -> None:
    item, other = await shop.offer(), await shop.offer()
    [picture] = (await shop.upload(item["id"], PICTURE)).json()["pictures"]

    for path in (
        f"/{other['id']}/pictures/{picture['id']}/small",
        f"/{item['id']}/pictures/{picture['id']}/huge",
        f"/{item['id']}/pictures/nothing/small",
        "/nothing/pictures/nothing/small",
        f"/{item['id']}/pictures/%00%ff/small",
    ):
        answer = await shop.call("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "picture_not_found"), path


async def test_an_item_has_six_pictures_at_most_however_fast_they_come(shop: Shop) -> None:
    item = await shop.offer()
    assert [(await shop.upload(item["id"], PICTURE)).status_code for _ in range(5)] == [201] * 5

    answers = await asyncio.gather(*(shop.upload(item["id"], PICTURE) for _ in range(2)))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"too_many_pictures"}
    assert len((await shop.item(item["id"]))["pictures"]) == 6
    refused = await shop.upload(item["id"], b"not even looked at")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_pictures")


# Refused


async def test_what_is_no_picture_is_refused_and_changes_nothing(shop: Shop) -> None:
    item = await shop.offer()
    text, noise = b"<script>alert(1)</script>", encoded(flag(), "PNG")

    for content, kind, status, code in (
        (text, "image/png", 415, "unsupported_picture"),
        (b"", "image/png", 415, "unsupported_picture"),
        (encoded(flag(), "GIF"), "image/png", 415, "unsupported_picture"),
        (PICTURE, "image/gif", 415, "unsupported_picture"),
        (PICTURE, "application/json", 415, "unsupported_picture"),
        (PICTURE, "", 415, "unsupported_picture"),
        (noise[: len(noise) // 2], "image/png", 422, "bad_picture"),
        (noise[:8] + text, "image/png", 422, "bad_picture"),
        (PICTURE + b"x" * MAX_PICTURE, "image/png", 413, "too_large"),
    ):
        answer = await shop.upload(item["id"], content, kind)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (content[:20], kind)

    assert await shop.item(item["id"]) == item
    assert await files(shop) == 0


async def test_the_bytes_count_not_the_name_of_their_kind(shop: Shop) -> None:
    item = await shop.offer()

    assert (await shop.upload(item["id"], PICTURE, "image/jpeg")).status_code == 201


async def test_a_picture_may_be_as_large_as_5_mb(shop: Shop) -> None:
    item = await shop.offer()
    upload = PICTURE + b"x" * (MAX_PICTURE - len(PICTURE))  # What follows the end of a PNG is no part of it.

    assert (await shop.upload(item["id"], upload)).status_code == 201
    assert (await shop.upload(item["id"], upload + b"x")).status_code == 413


async def test_nothing_but_a_picture_may_be_so_large(shop: Shop) -> None:
    item = await shop.offer()

    for method, path in (("POST", ""), ("PATCH", f"/{item['id']}"), ("PATCH", "/pictures")):
        answer = await shop.call(method, path, shop.seller, content=b" " * 1_000_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), path


async def test_a_seller_whose_uploads_trickle_in_leaves_room_for_the_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.http.middleware.BODY_PATIENCE", 120.0)
    other = person("Grace")
    item, others = await shop.offer(), await shop.offer(other)
    both_wait, arrived = asyncio.Barrier(3), asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        yield PICTURE[:100]
        await both_wait.wait()
        await arrived.wait()
        yield PICTURE[100:]

    path = f"/api/items/{item['id']}/pictures"
    headers = shop.tokens.headers(shop.seller) | {"Content-Type": "image/png", "Content-Length": str(len(PICTURE))}
    async with asyncio.TaskGroup() as tasks:
        slow = [tasks.create_task(shop.http.post(path, headers=headers, content=trickle())) for _ in range(2)]
        await both_wait.wait()

        third = await shop.upload(item["id"], PICTURE)
        assert (third.status_code, third.json()["code"]) == (429, "too_many_requests")
        assert third.headers["retry-after"] == "1"
        assert (await shop.upload(others["id"], PICTURE, user=other)).status_code == 201
        arrived.set()

    assert [upload.result().status_code for upload in slow] == [201, 201]
    assert (await shop.upload(item["id"], PICTURE)).status_code == 201, "there is room again"


async def test_only_the_seller_of_an_item_on_sale_changes_its_pictures(shop: Shop) -> None:
    item = await shop.offer()
    [picture] = (await shop.upload(item["id"], PICTURE)).json()["pictures"]

    async def refused(item_id: str, user: User | None) -> set[tuple[int, str]]:
        headers = shop.tokens.headers(user) if user else {}
        path = f"/api/items/{item_id}/pictures"
        added = await shop.http.post(path, headers={**headers, "Content-Type": "image/png"}, content=PICTURE)
        removed = await shop.http.delete(f"{path}/{picture['id']}", headers=headers)
        return {(answer.status_code, answer.json()["code"]) for answer in (added, removed)}

    assert await refused(item["id"], person("Mallory")) == {(403, "not_owner")}
    assert await refused(item["id"], None) == {(401, "not_signed_in")}
    assert await refused("nothing", shop.seller) == {(404, "item_not_found")}
    await shop.call("DELETE", f"/{item['id']}", shop.seller)
    assert await refused(item["id"], shop.seller) == {(409, "item_withdrawn")}
    assert (await shop.item(item["id"]))["pictures"] == [picture]
    assert (await shop.http.get(picture["large"])).status_code == 200


# What a crash leaves behind


@pytest_asyncio.fixture
async def left_behind(db: Database) -> Key:
    """A picture of long ago whose item was never saved."""
    await PictureStore(db).write(picture := (32 * "0", "item"), {"small": b"small", "large": b"large"})
    return picture


async def test_files_that_were_left_behind_are_deleted_at_the_next_start(left_behind: Key, shop: Shop) -> None:
    async def gone() -> bool:
        return await files(shop) == 0

    await eventually(gone)
    assert await PictureStore(shop.db).read(left_behind, "small") is None
