"""Takes money and gives it back: every call to the gateway is made here, and what was in flight is finished here.

An intent is written before the gateway is called, and the call may be repeated under its key. So whatever dies in
between, the rounds find the payment and go on from what is written.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from common.errors import IdempotencyKeyReused
from common.events import ProviderOperation
from common.ids import once_arrived
from common.telemetry import Cause, caused_by, current_cause, new_cause
from payments.calls import FAILURES, Call
from payments.domain import (
    Due,
    OrderNotFound,
    OrderNotPayable,
    Payment,
    PaymentStatus,
    UnknownPaymentMethod,
)
from payments.gateways.port import (
    Charge,
    Entry,
    GatewayTimeout,
    GatewayUnavailable,
    PaymentGateway,
)
from payments.leased_work import Rounds
from payments.store import DueStore, PaymentStore

log = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=10)
"""How long a repeated request waits for the first one's answer; as long as a gateway may take."""


class Cashier:
    """Works on payments that are not settled, through one gateway."""

    def __init__(
        self, payments: PaymentStore, dues: DueStore, gateway: PaymentGateway, patience: timedelta = PATIENCE
    ) -> None:
        self._payments = payments
        self._dues = dues
        self._gateway = gateway
        self._patience = patience
        self._rounds = Rounds(payments.collection, "check_at", self.settle, every=1, first=5, longest=300)

    def settling(self) -> AbstractAsyncContextManager[None]:
        """Finish, in the background, what crashes and lost answers left unsettled, and send back what is owed."""
        return self._rounds.running()

    async def pay(self, order_id: str, method: str, buyer_id: str, request_key: str | None) -> Payment:
        """Take what is due for an order; `Payment.answer` is what the caller is to be told.

        The same key and request again gives the same payment and answer. Raises `UnknownPaymentMethod`,
        `OrderNotFound`, `OrderNotPayable` or `IdempotencyKeyReused`; then nothing was begun.
        """
        if not self._gateway.accepts(method):
            raise UnknownPaymentMethod(f"there is no payment method {method}")
        try:
            due = await self._due(order_id, buyer_id)
            payment = Payment.begin(due, method=method, request_key=request_key, now=datetime.now(UTC))
            await self._payments.add(payment)
        except (OrderNotFound, OrderNotPayable):
            # Perhaps because this very request has come before.
            earlier = await self._payments.under_key(buyer_id, request_key) if request_key else None
            if earlier is None:
                raise
            if (earlier.order_id, earlier.method) != (order_id, method):
                raise IdempotencyKeyReused("this Idempotency-Key was used for another payment") from None
            return await self._answered(earlier)
        try:
            return await self._charge(payment)
        except (GatewayTimeout, GatewayUnavailable) as error:
            log.warning("payment %s stays open: %s", payment.id, error)
            return await self._payments.change(payment, Payment.leave_open)

    async def hear(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """A webhook call came: read the charge again and believe that. Raises `BadSignature`.

        Calls come late, twice and out of order, so they only say where to look. False: it is none of our payments.
        """
        reference = self._gateway.verify(body, headers)
        call = Call(ProviderOperation.RETRIEVE)
        found = await self._gateway.retrieve(reference) if reference else None
        payment = await self._payments.find(found.payment_id) if found else None
        if found is None or payment is None:
            log.warning("ignored a webhook call about %s: no charge of ours", reference)
            return False
        await self._payments.change(payment, call.answered(found.answer))
        return True

    async def owe_refund(self, payment_id: str, reason: str) -> None:
        """Send the money back, soon and once. Raises `PaymentNotFound` and `NotCaptured`."""
        payment = await self._payments.get(payment_id)
        cause = asdict(current_cause())
        await self._payments.change(payment, lambda p: p.owe_refund(reason, datetime.now(UTC), cause))
        self._rounds.wake()

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[Entry]:
        """The gateway's own books. Raises what `PaymentGateway.charges` does."""
        return await self._gateway.charges(after, limit, ids)

    async def settle(self, payment_id: str) -> None:
        """Do the next thing that a payment waits for. Safe at any time and any number of times."""
        payment = await self._payments.get(payment_id)
        match payment.status:
            case PaymentStatus.CREATED:
                await self._charge(payment)
            case PaymentStatus.PROCESSING:
                await self._look_up(payment)
            case PaymentStatus.REFUND_DUE:
                with caused_by(Cause(**payment.refund_cause) if payment.refund_cause else new_cause()):
                    await self._refund(payment)
            case _:
                return  # Settled since its time came.

    async def _due(self, order_id: str, buyer_id: str) -> Due:
        due = await once_arrived(self._dues.find, order_id)
        if due is None or due.buyer_id != buyer_id:
            raise OrderNotFound("there is no such order")
        return due

    async def _charge(self, payment: Payment) -> Payment:
        charge = Charge(
            payment_id=payment.id,
            order_id=payment.order_id,
            amount=payment.amount,
            currency=payment.currency,
            method=payment.method,
            hold_ends_at=payment.hold_ends_at,
        )
        async with self._asking(payment, ProviderOperation.CHARGE) as call:
            answer = await self._gateway.charge(charge)
        return await self._payments.change(payment, call.answered(answer))

    async def _refund(self, payment: Payment) -> None:
        async with self._asking(payment, ProviderOperation.REFUND) as call:
            await self._gateway.refund(payment.id, payment.reference)
        await self._payments.change(payment, call.refunded(payment.reference))

    async def _look_up(self, payment: Payment) -> None:
        async with self._asking(payment, ProviderOperation.RETRIEVE) as call:
            found = await self._gateway.retrieve(payment.reference)
        if found is None:
            await self._payments.change(payment, call.not_found(payment.reference))
            raise GatewayUnavailable(f"the gateway no longer knows charge {payment.reference}")
        await self._payments.change(payment, call.answered(found.answer))

    @asynccontextmanager
    async def _asking(self, payment: Payment, operation: ProviderOperation) -> AsyncIterator[Call]:
        """A call to the gateway; if it fails, the payment tells so, in a save of its own."""
        call = Call(operation)
        try:
            yield call
        except tuple(FAILURES) as error:
            await self._payments.change(payment, call.failed(error, payment.reference))
            raise

    async def _answered(self, payment: Payment) -> Payment:
        """Wait for the answer to the first request; it may be with another replica, or have died."""
        deadline = datetime.now(UTC) + self._patience
        while payment.answer is None and datetime.now(UTC) < deadline:
            await asyncio.sleep(0.02)
            payment = await self._payments.get(payment.id)
        return await self._payments.change(payment, Payment.leave_open)
