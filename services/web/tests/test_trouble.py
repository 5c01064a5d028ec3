"""Operators see the payments in trouble, try a failed refund again, or settle it by hand."""

from services.web.tests.conftest import Visitor, Visitors, listed, ordered, paid, shows
from tests.support.waiting import eventually


async def charged_with(visitors: Visitors, method: str) -> tuple[Visitor, str, str]:
    """An order paid with this method. Returns its seller, its id and the payment's id."""
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    order = await ordered(buyer, await listed(seller))
    order_id = order.path.rpartition("/")[2]

    async def charged() -> str | None:
        page = await buyer.get(order.path)
        if any(form.action == f"{order.path}/pay" for form in page.forms):
            await buyer.send(page, f"{order.path}/pay", payment_method=method)
        found = (await buyer.http.get("/api/payments", params={"order_id": order_id})).json()["items"]
        return found[0]["id"] if found and found[0]["status"] in ("captured", "disputed") else None

    return seller, order_id, await eventually(charged)


async def refund_failed(visitors: Visitors) -> tuple[str, str]:
    """An order whose seller has refunded it in vain. Returns its id and the payment's id."""
    seller, order_id, payment_id = await charged_with(visitors, "pm_card_refund_fails")
    refund = f"/my/sales/{order_id}/refund"

    async def asked() -> bool:
        page = await seller.get("/my/sales")
        if any(form.action == refund for form in page.forms):
            await seller.send(page, refund)
            return True
        return False

    await eventually(asked)
    return order_id, payment_id


async def test_an_operator_tries_a_failed_refund_again(visitors: Visitors) -> None:
    operator = await visitors.new("Ola", "operator")
    order_id, payment_id = await refund_failed(visitors)
    page = await shows(operator, "/operator/payments", order_id)
    assert "Refund failed" in page.text
    assert "expired or canceled card" in page.text
    assert f'href="/operator/orders/{order_id}"' in page.answer.text

    done = await operator.send(page, f"/operator/payments/{payment_id}/retry")
    late = await operator.send(page, f"/operator/payments/{payment_id}/retry")

    assert (done.path, "The refund is tried again" in done.text, order_id in done.text) == (page.path, True, False)
    assert (late.status, "The refund is tried again" in late.text) == (200, False)


async def test_an_operator_says_how_the_money_of_a_failed_refund_went_back(visitors: Visitors) -> None:
    operator = await visitors.new("Ola", "operator")
    order_id, payment_id = await refund_failed(visitors)
    page = await shows(operator, "/operator/payments", order_id)
    settle = f"/operator/payments/{payment_id}/settled"

    for reason in (" ", "x" * 501):
        wrong = await operator.send(page, settle, reason=reason)
        assert (wrong.status, set(wrong.errors)) == (422, {f"reason-{payment_id}"})
        assert wrong.form(settle).fields["reason"] == reason.strip()
    done = await operator.send(wrong, settle, reason="Paid by bank transfer")
    late = await operator.send(wrong, settle, reason="Paid by bank transfer")

    assert (done.status, "The refund is settled" in done.text, order_id in done.text) == (200, True, False)
    assert (late.status, "The refund is settled" in late.text) == (200, False)


async def test_a_dispute_is_shown_without_a_form(visitors: Visitors) -> None:
    operator = await visitors.new("Ola", "operator", language="de")
    _, order_id, payment_id = await charged_with(visitors, "pm_card_disputed")

    page = await shows(operator, "/operator/payments", order_id)

    assert "Angefochten, noch nicht entschieden" in page.text
    assert not [form for form in page.forms if payment_id in form.action]
    assert order_id in (await operator.get("/operator/payments?lost=true")).text


async def test_a_part_that_went_back_is_told_to_the_buyer_and_to_operators_and_is_no_trouble(
    visitors: Visitors,
) -> None:
    operator = await visitors.new("Ola", "operator")
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    order = await ordered(buyer, await listed(seller))
    order_id = order.path.rpartition("/")[2]
    await paid(buyer, order, "pm_card_partly_refunded")
    paid_amount = (await buyer.http.get("/api/payments", params={"order_id": order_id})).json()["items"][0]["amount"]
    said = f"€{paid_amount // 3 / 100:.2f} of €{paid_amount / 100:.2f} was refunded"

    await shows(buyer, order.path, "It is yours")
    page = await shows(buyer, order.path, said)
    story = await shows(operator, f"/operator/orders/{order_id}", said)

    assert "It is yours" in page.text
    assert "A part went back at the payment provider" in story.text
    assert "Captured" in story.text
    assert order_id not in (await operator.get("/operator/payments")).text


async def test_payments_in_trouble_are_for_operators(visitors: Visitors) -> None:
    page = await (await visitors.new("Bo")).get("/operator/payments")

    assert (page.status, "This page is for operators" in page.text) == (403, True)
