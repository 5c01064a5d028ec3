"""How far a durable consumer is behind, also where the server that leads it lacks what it should deliver."""

from dataclasses import replace
from typing import Any

import pytest
from nats.js.api import ConsumerInfo

from common.bus.consumer_lag import ConsumerLag, consumer_lags
from common.bus.durables import Durable
from common.errors import Unavailable
from tests.support.bus import Events


@pytest.fixture
def misled(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leads the consumers has an empty copy of the stream, and so counts nothing in it."""
    listed = events.js.consumers_info

    async def consumers_info(*args: Any, **more: Any) -> list[ConsumerInfo]:
        return [replace(info, num_pending=0) for info in await listed(*args, **more)]

    monkeypatch.setattr(events.js, "consumers_info", consumers_info)


async def durable(events: Events, subject: str, start: int = 1) -> None:
    config = Durable("reader", "handler", "ITEMS", subject).config(start)
    await events.js.add_consumer("ITEMS", replace(config, durable_name="reader"))


@pytest.mark.usefixtures("misled")
async def test_a_message_that_a_leader_does_not_know_waits_for_its_consumer(events: Events) -> None:
    for subject in ("items.withdrawn", "items.listed", "items.listed"):
        await events.deliver_raw(subject, b"{}")
    await durable(events, "items.listed")

    [lag] = await consumer_lags(events.js, ["ITEMS"])

    assert lag == ConsumerLag("ITEMS", "reader", 1, oldest=2, since=(await events.js.get_msg("ITEMS", 2)).time)


@pytest.mark.usefixtures("misled")
@pytest.mark.parametrize(("subject", "start"), [("items.changed", 1), ("items.listed", 3)])
async def test_messages_that_are_not_for_a_consumer_do_not_wait_for_it(
    events: Events, subject: str, start: int
) -> None:
    for other in ("items.listed", "items.withdrawn", "items.withdrawn"):
        await events.deliver_raw(other, b"{}")
    await durable(events, subject, start)

    assert await consumer_lags(events.js, ["ITEMS"]) == [ConsumerLag("ITEMS", "reader", 0)]


async def test_a_consumer_that_has_come_to_the_end_costs_no_request_of_its_own(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    await events.deliver_raw("items.listed", b"{}")
    await durable(events, "items.listed")
    [message] = await (await events.js.pull_subscribe_bind("reader", "ITEMS")).fetch(1)
    await message.ack_sync()
    monkeypatch.setattr(events.js, "get_msg", None)

    assert await consumer_lags(events.js, ["ITEMS"]) == [ConsumerLag("ITEMS", "reader", 0)]


async def test_where_a_leader_does_not_answer_nobody_knows_who_is_behind(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    await durable(events, "items.listed")
    monkeypatch.setattr(events.js, "consumers_info", left_out)

    with pytest.raises(Unavailable, match="nothing about 1 of 1 consumers of ITEMS"):
        await consumer_lags(events.js, ["ITEMS"])


async def left_out(*_: Any, **__: Any) -> list[ConsumerInfo]:
    """The list of a server that leads the stream, and has not heard of the only consumer's leader in time."""
    return []
