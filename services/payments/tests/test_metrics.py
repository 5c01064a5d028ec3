"""What payments tells Prometheus."""

from typing import TYPE_CHECKING

from tests.support.scraping import scraped
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import World


async def test_money_by_state_and_calls_of_the_gateway_are_scraped(world: "World") -> None:
    order = await world.placed_order(amount=1250)
    before = await scraped(world.http)
    paid = (await world.pay(order.order_id)).json()
    await world.becomes(paid["id"], "captured")

    async def told() -> bool:
        after = await scraped(world.http)

        def more(name: str) -> float:
            return after.get(name, 0) - before.get(name, 0)

        assert more('souk_payments_total{currency="EUR",status="captured"}') == 1
        assert more('souk_payments_minor_units_total{currency="EUR",status="captured"}') == 1250
        assert more('souk_gateway_call_seconds_count{operation="capture"}') == 1
        return 0 < more('souk_gateway_call_seconds_sum{operation="capture"}') < 60

    await eventually(told)


async def test_a_gateway_without_an_answer_is_scraped(world: "World") -> None:
    order = await world.placed_order()
    before = await scraped(world.http)
    await world.pay(order.order_id, "pm_card_lost")

    after = await scraped(world.http)
    name = 'souk_gateway_failures_total{error="GatewayTimeout",operation="charge"}'
    assert after[name] > before.get(name, 0)
