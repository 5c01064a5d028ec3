"""What payments shows of itself, and of the gateway's own books."""

from datetime import UTC, datetime, timedelta

import pytest

from common.events import Currency
from common.records import ChangesLost, RecordsQuery
from payments.gateways.port import Charge, ChargeRecord
from payments.gateways.sandbox import SandboxGateway
from payments.gateways.sandbox_remote import RemoteSandbox

from .conftest import SECRET, Workshop


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


async def test_which_charges_were_written_is_told_with_the_payments(
    workshop: Workshop, sandbox: SandboxGateway
) -> None:
    cashier, changes = workshop.cashier(sandbox), workshop.payments.changes
    [start] = await changes(RecordsQuery(), await cashier.ledger())

    await sandbox.charge(charge("a", "pm_card_visa"))

    told = await changes(RecordsQuery(after=start["id"]), await cashier.ledger())
    assert [(row.get("kind"), row.get("key")) for row in told] == [("charges", "a"), (None, None)]


async def test_which_charges_were_written_elsewhere_nobody_can_tell(workshop: Workshop) -> None:
    async with RemoteSandbox.open("http://127.0.0.1:1", SECRET) as elsewhere:
        with pytest.raises(ChangesLost):
            await workshop.cashier(elsewhere).ledger()
