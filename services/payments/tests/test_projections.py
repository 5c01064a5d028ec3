"""What is due for each order, read again from the stream."""

from typing import TYPE_CHECKING

import pytest

from common import projections as projections_module
from common.projections import rebuild
from payments.projections import opened

if TYPE_CHECKING:
    from services.payments.tests.conftest import World


async def test_dues_that_were_lost_changed_or_made_up_are_mended(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections_module, "SETTLE_SECONDS", 0.1)
    lost, changed, behind, right, accepted = [await world.placed_order() for _ in range(5)]
    for order in (behind, right):
        await world.cancelled(order)
    payment = (await world.pay(accepted.order_id)).json()
    await world.accepted(accepted, payment["id"])
    truth = await world.db.dues.find({}).sort("_id").to_list()

    async with opened() as [dues]:
        assert await rebuild(dues, swap=False) == 0

        await world.db.dues.delete_one({"_id": lost.order_id})
        await world.db.dues.update_one({"_id": changed.order_id}, {"$set": {"amount": 1}})
        await world.db.dues.update_one({"_id": behind.order_id}, {"$set": {"order_version": 1, "state": "open"}})
        await world.db.dues.insert_one({**truth[0], "_id": "stranger"})

        assert await rebuild(dues, swap=False) == 4
        assert await rebuild(dues, swap=True) == 0
    assert await world.db.dues.find({}).sort("_id").to_list() == truth
