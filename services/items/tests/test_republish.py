"""After the bus lost its streams, items publishes what it sells: once, and only what the stream lacks."""

from common.bus.connection import Bus
from common.events import ItemChanged, ItemListed, ItemState, ItemWithdrawn
from common.republish import republish
from items.republish import stated
from tests.support.bus import Events, emptied

from .conftest import Shop


async def published(events: Events) -> list[ItemState]:
    """Everything in the stream, in order of the items."""
    found = [
        event for kind in (ItemListed, ItemChanged, ItemWithdrawn) for event in await events.published(kind, count=0)
    ]
    return sorted(found, key=lambda event: (event.item_id, event.item_version))


async def test_each_item_is_stated_again_as_it_is(shop: Shop, bus_url: str) -> None:
    new, edited, gone = [(await shop.offer())["id"] for _ in range(3)]
    await shop.call("PATCH", f"/{edited}", shop.seller, json={"price": 99})
    await shop.call("DELETE", f"/{gone}", shop.seller)
    await shop.events.published(ItemWithdrawn)
    before = {(event.item_id, event.item_version): event for event in await published(shop.events)}
    [items] = stated(shop.db)
    config = (await shop.events.js.stream_info("ITEMS")).config
    async with Bus.connected(bus_url, "items") as bus:
        assert await republish(bus, items) == (3, 0)  # nothing is lost yet
        await emptied(shop.events.js, "ITEMS", config)

        assert await republish(bus, items) == (3, 3)
        assert await republish(bus, items) == (3, 0)

    after = await published(shop.events)
    assert [(type(event), event.item_id) for event in after] == [
        (kind, item) for item, kind in sorted([(new, ItemListed), (edited, ItemChanged), (gone, ItemWithdrawn)])
    ]
    for event in after:
        known = before[event.item_id, event.item_version]
        assert (event.restated, event.model_copy(update={"restated": False})) == (True, known)
        assert "restated" not in known.model_dump_json()


async def test_what_changed_after_the_loss_is_stated_again_because_a_version_before_it_is_lost(
    shop: Shop, bus_url: str
) -> None:
    kept, edited = [(await shop.offer())["id"] for _ in range(2)]
    await shop.call("PATCH", f"/{edited}", shop.seller, json={"price": 99})
    await shop.events.published(ItemChanged)
    first = await published(shop.events)
    config = (await shop.events.js.stream_info("ITEMS")).config
    await emptied(shop.events.js, "ITEMS", config)
    for event in first:
        if event.item_version == 1:  # audit kept it
            await shop.events.deliver(event)
    await shop.call("PATCH", f"/{edited}", shop.seller, json={"price": 98})
    await shop.events.published(ItemChanged)
    [items] = stated(shop.db)
    async with Bus.connected(bus_url, "items") as bus:
        assert await republish(bus, items) == (2, 1)
        assert await republish(bus, items) == (2, 0)

    told = [(e.item_id, e.item_version, e.restated) for e in await published(shop.events)]
    assert sorted(told) == sorted([(kept, 1, False), (edited, 1, False), (edited, 3, False), (edited, 3, True)])
