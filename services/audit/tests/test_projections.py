"""The log, compared with the streams it was read from."""

import pytest

from audit.projections import opened
from common import projections as projections_module
from common.ids import new_id
from common.projections import rebuild

from .conftest import World
from .test_security import noted


async def test_entries_that_were_lost_or_changed_are_read_again(audit: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections_module, "SETTLE_SECONDS", 0.1)
    item = audit.item()
    lost, changed, _ = [await audit.publish(event) for event in (item, audit.placed(item), audit.placed(item))]
    await noted(audit, "auth", "signed_in", new_id())  # That is in the security log, and not among the events.
    truth = await audit.kept()

    async with opened() as [log]:
        assert await rebuild(log, swap=False) == 0

        await audit.db.events.delete_one({"_id": lost})
        await audit.db.events.update_one({"_id": changed}, {"$set": {"body": "{}"}})

        assert await rebuild(log, swap=False) == 2
        assert await rebuild(log, swap=True) == 0
        assert await audit.kept() == truth

        await audit.db.events.insert_one({**truth["events"][0], "_id": "no stream has it"})
        assert await rebuild(log, swap=True) == 1
