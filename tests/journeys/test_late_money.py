"""Money that comes late, twice, slowly or not at all, or without a report: captured once, or released or refunded."""

import pytest

from infra.local.stack.stack import Stack
from tests.support.late_money import bank_waiting
from tests.support.people import People
from tests.support.proving import some_in_test
from tests.support.shopping import becomes, leaves, money, ok, order, pay, payments, place, sell, try_to_pay


@pytest.mark.parametrize("method", some_in_test(["pm_card_late", "pm_bank_late"], {"pm_bank_late"}))
async def test_late_money_is_good_while_the_units_are_free(hasty_people: People, method: str) -> None:
    seller, buyer = await hasty_people.new("Sid"), await hasty_people.new("Bea")
    item = await sell(seller, 1)
    placed = await place(buyer, item)

    assert (await pay(buyer, placed["id"], method))["status"] == "processing"

    paid = await becomes(buyer, placed["id"], "paid")
    assert paid["late_payment"] == "accepted"
    await money(buyer, placed["id"], "captured")
    await leaves(buyer, item, 0)


@pytest.mark.parametrize(
    ("method", "end"),
    [("pm_card_late", "released"), pytest.param("pm_bank_late", "refunded", marks=pytest.mark.prove)],
)
async def test_late_money_goes_back_when_somebody_else_was_faster(
    hasty_stack: Stack, hasty_people: People, method: str, end: str
) -> None:
    seller, slow, fast = [await hasty_people.new(name) for name in ("Sid", "Sue", "Flo")]
    item = await sell(seller, 1)
    late = await place(slow, item)
    async with bank_waiting(hasty_stack, await pay(slow, late["id"], method)):
        await becomes(slow, late["id"], "expired")
        quick = await place(fast, item)
        await pay(fast, quick["id"])

    [payment] = await money(slow, late["id"], end)
    ended = await order(slow, late["id"])
    assert (ended["status"], ended["late_payment"]) == ("expired", "rejected")
    assert (payment["amount"], payment["reason"]) == (late["total"], "sold_out")
    await becomes(fast, quick["id"], "paid")
    await leaves(slow, item, 0)


async def test_a_declined_card_moves_nothing_and_another_may_be_tried(people: People) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    placed = await place(buyer, await sell(seller, 1))

    assert ok(await try_to_pay(buyer, placed["id"], "pm_card_declined"), 402)["code"] == "card_declined"
    assert (await order(buyer, placed["id"]))["status"] == "awaiting_payment"

    await pay(buyer, placed["id"])
    await becomes(buyer, placed["id"], "paid")
    await money(buyer, placed["id"], "captured", "failed")


async def test_slow_duplicate_and_lost_payments_are_each_taken_once(people: People) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    item = await sell(seller, 4)
    for card in ("pm_card_slow", "pm_card_duplicate", "pm_card_lost", "pm_bank"):
        placed = await place(buyer, item)
        await pay(buyer, placed["id"], card)
        second = await try_to_pay(buyer, placed["id"], card)
        assert ok(second, 409)["code"] == "order_not_payable"

        paid = await becomes(buyer, placed["id"], "paid")
        [payment] = await money(buyer, placed["id"], "captured")
        assert payment["id"] == paid["payment_id"]
    await leaves(buyer, item, 0)


async def test_a_capture_that_fails_gives_the_units_back(people: People) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    item = await sell(seller, 1)
    placed = await place(buyer, item)

    await try_to_pay(buyer, placed["id"], "pm_card_capture_fails")

    [payment] = await money(buyer, placed["id"], "failed")
    assert payment["reason"] == "capture_refused"
    ended = await becomes(buyer, placed["id"], "cancelled")
    assert (ended["cancel_reason"], ended["payment_failure"]) == ("payment_failed", "capture_refused")
    await leaves(buyer, item, 1)


@pytest.mark.parametrize(("method", "end"), [("pm_card_late", "released"), ("pm_bank_late", "refunded")])
async def test_money_for_a_cancelled_order_goes_back(stack: Stack, people: People, method: str, end: str) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    item = await sell(seller, 1)
    placed = await place(buyer, item)

    async with bank_waiting(stack, await pay(buyer, placed["id"], method)):
        ok(await buyer.http.delete(f"/api/orders/{placed['id']}"))

    await money(buyer, placed["id"], end)
    assert (await order(buyer, placed["id"]))["status"] == "cancelled"
    await leaves(buyer, item, 1)


async def test_the_same_key_pays_once(people: People) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    placed = await place(buyer, await sell(seller, 1))
    key = {"Idempotency-Key": "one payment"}

    first, again = [await try_to_pay(buyer, placed["id"], "pm_card_visa", **key) for _ in range(2)]
    other = await try_to_pay(buyer, placed["id"], "pm_card_slow", **key)

    assert (first.status_code, first.text) == (again.status_code, again.text)
    assert ok(other, 422)["code"] == "idempotency_key_reused"
    assert len(await payments(buyer, placed["id"])) == 1
