"""What payments shows of its state to who checks it."""

from common.records import Record, Records, RecordsQuery
from payments.cashier import Cashier
from payments.store import PaymentStore

records = Records("payments")


@records.on("payments")
async def show_payments(query: RecordsQuery, payments: PaymentStore) -> list[Record]:
    """Payments, as they are kept."""
    return await payments.rows(query)


@records.on("charges")
async def show_charges(query: RecordsQuery, cashier: Cashier) -> list[Record]:
    """Where the money is, as the gateway says, by payment. Raises `ChargesUnlisted` where it does not say."""
    return [entry.row() for entry in await cashier.charges(query.after, query.limit, query.ids)]
