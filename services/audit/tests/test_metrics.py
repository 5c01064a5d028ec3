"""What audit tells Prometheus about the bus."""

from typing import TYPE_CHECKING

import pytest
from nats.js.api import ConsumerConfig

from tests.support.scraping import scraped
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.audit.tests.conftest import World


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are taken often."""
    monkeypatch.setattr("common.metrics.SAMPLE_EVERY", 0.05)


async def test_who_is_behind_and_since_when_is_scraped(audit: "World") -> None:
    await audit.events.js.add_consumer("ITEMS", ConsumerConfig(durable_name="lazy", filter_subject="items.listed"))
    for title in ("A lamp", "A chair"):
        await audit.events.js.publish("items.listed", audit.item(title).model_dump_json().encode())
    await audit.dead_letter()
    lazy = '{consumer="lazy",stream="ITEMS"}'

    async def told() -> bool:
        found = await scraped(audit.http)
        assert found.get(f"souk_consumer_pending_messages{lazy}") == 2
        assert 0 < found[f"souk_consumer_oldest_age_seconds{lazy}"] < 60
        others = {found[name] for name in pending(found) if name != f"souk_consumer_pending_messages{lazy}"}
        assert others == {0}, "audit's own are there, too"
        return found["souk_dead_letters_open"] == 1

    await eventually(told)


async def test_a_consumer_that_is_gone_is_no_longer_behind(audit: "World") -> None:
    await audit.events.js.add_consumer("ITEMS", ConsumerConfig(durable_name="lazy", filter_subject="items.listed"))

    async def known(*, wanted: bool) -> bool:
        return any("lazy" in name for name in pending(await scraped(audit.http))) is wanted

    await eventually(lambda: known(wanted=True))
    await audit.events.js.delete_consumer("ITEMS", "lazy")
    await eventually(lambda: known(wanted=False))


def pending(found: dict[str, float]) -> list[str]:
    """What is told of messages that wait, for each consumer."""
    return [name for name in found if name.startswith("souk_consumer_pending_messages{")]
