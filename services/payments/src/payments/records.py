"""What payments shows of its state to who checks it."""

from common.records import Books, Page, Rows
from payments.cashier import Cashier
from payments.store import PaymentStore

books = Books("payments")


@books.on("payments")
async def show_payments(page: Page, payments: PaymentStore) -> Rows:
    """Payments, as they are kept."""
    return await payments.rows(page)


@books.on("charges")
async def show_charges(page: Page, cashier: Cashier) -> Rows:
    """Where the money is, as the gateway says, by payment. Raises `ChargesUnlisted` where it does not say."""
    return [entry.row() for entry in await cashier.charges(page.after, page.limit, page.ids)]
