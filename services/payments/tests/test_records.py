"""What payments shows of itself, and of the gateway's own books."""

from datetime import UTC, datetime, timedelta

from common.events import Currency
from payments.gateways.port import Charge, ChargeRecord
from payments.gateways.sandbox import SandboxGateway


def charge(payment_id: str, method: str) -> Charge:
    return Charge(payment_id, "order", 900, Currency.EUR, method, datetime.now(UTC) + timedelta(minutes=15))


async def test_the_sandbox_shows_where_the_money_of_each_charge_is(sandbox: SandboxGateway) -> None:
    for payment_id, method in (("a", "visa"), ("b", "declined"), ("c", "visa"), ("d", "visa")):
        await sandbox.charge(charge(payment_id, f"pm_card_{method}"))
    for payment_id in ("a", "d"):
        await sandbox.capture(payment_id, f"ch_{payment_id}")
    await sandbox.refund("d", "ch_d")

    entries = [
        ChargeRecord("a", 900, "EUR", captured=True, refunded=False),
        ChargeRecord("b", 900, "EUR", captured=False, refunded=False),
        ChargeRecord("c", 900, "EUR", captured=False, refunded=False),
        ChargeRecord("d", 900, "EUR", captured=True, refunded=True, refunded_amount=900),
    ]
    assert await sandbox.charges("", 10, None) == entries
    assert await sandbox.charges("b", 1, None) == entries[2:3]
    assert await sandbox.charges("", 10, ["d", "a", "nobody"]) == [entries[0], entries[3]]

    await sandbox.capture("c", "ch_c")
    assert (await sandbox.charges("b", 1, None))[0].captured
