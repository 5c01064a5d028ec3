"""The records of payments that reconciliation reads."""

from common.records import Record, Records, RecordsQuery
from payments.cashier import Cashier
from payments.store import PaymentStore

records = Records("payments")


@records.on("payments")
async def show_payments(query: RecordsQuery, payments: PaymentStore) -> list[Record]:
    """Payments, as they are stored."""
    return await payments.records(query)


@records.on("charges")
async def show_charges(query: RecordsQuery, cashier: Cashier) -> list[Record]:
    """Charges, as the gateway records them, by payment id. Raises `ChargesUnlisted` if it does not list them."""
    return [charge.as_dict() for charge in await cashier.charges(query.after, query.limit, query.ids)]


@records.on("changes")
async def show_changes(query: RecordsQuery, payments: PaymentStore, cashier: Cashier) -> list[Record]:
    """Which payments and charges were written since a mark. Raises `ChargesUnlisted`, and `ChangesLost`."""
    return await payments.changes(query, await cashier.ledger())
