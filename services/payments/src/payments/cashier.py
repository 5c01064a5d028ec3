"""Authorizes money, takes it and gives it back: makes every call to the gateway, and finishes what was in flight.

An intent is written before the gateway is called, and the call may be repeated under its key. So if a process dies in
between, the leased work finds the payment and continues from what is written.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from prometheus_client import Counter, Histogram

from common.errors import IdempotencyKeyReused
from common.events import ProviderOperation
from common.leased_work import LeasedWork
from common.records import ChangesLost
from common.telemetry import Cause, caused_by, current_cause, new_cause
from common.tracing import working
from payments.calls import FAILURES, Call, Transition, news
from payments.domain import Payment, UnknownPaymentMethod
from payments.due import Due, OrderNotFound, OrderNotPayable
from payments.gateways.port import (
    Charge,
    ChargeRecord,
    Found,
    GatewayTimeout,
    GatewayUnavailable,
    PaymentGateway,
)
from payments.status import PaymentStatus
from payments.store import DueStore, PaymentStore

log = logging.getLogger(__name__)

GATEWAY_CALLS = Histogram(
    "souk_gateway_call_seconds",
    "Time that a call to the payment gateway took, however it ended",
    ["operation"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
GATEWAY_FAILURES = Counter(
    "souk_gateway_failures_total", "Calls to the payment gateway that got no answer", ["operation", "error"]
)

WORD_TIMEOUT = timedelta(seconds=2)
"""How long a request waits until orders has said what becomes of its payment, and that is done."""

ANSWER_TIMEOUT = timedelta(seconds=10)
"""How long a repeated request waits for the answer to the first one: as long as a gateway may take."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.16
"""Seconds after which a request that waits reads its payment again: any replica may settle it. Each pause is longer."""


class Cashier:
    """Works on payments that are not settled, through one gateway."""

    def __init__(
        self,
        payments: PaymentStore,
        dues: DueStore,
        gateway: PaymentGateway,
        answer_timeout: timedelta = ANSWER_TIMEOUT,
        word_timeout: timedelta = WORD_TIMEOUT,
    ) -> None:
        self._payments = payments
        self._dues = dues
        self._gateway = gateway
        self._answer_timeout = answer_timeout
        self._word_timeout = word_timeout
        self._unsettled = LeasedWork(
            payments.collection, "check_at", self.settle, poll_seconds=1, first_lease=5, max_lease=300
        )

    @asynccontextmanager
    async def settling(self) -> AsyncIterator[None]:
        """In the background, settle payments that crashes and lost answers left open, and make the refunds due.

        Also hear of what happens at the gateway though no webhook call tells it.
        """
        async with self._unsettled.running(), self._gateway.watching(self.hear, await self._payments.begun()):
            yield

    async def pay(self, order_id: str, method: str, buyer_id: str, request_key: str | None) -> Payment:
        """Take what is due for an order. `Payment.answer` of the result is the answer for the caller.

        The same key and request again gives the same payment and answer. Raises `UnknownPaymentMethod`,
        `OrderNotFound`, `OrderNotPayable` or `IdempotencyKeyReused`; no payment exists then.
        """
        if not self._gateway.accepts(method):
            raise UnknownPaymentMethod(f"there is no payment method {method}")
        try:
            due = await self._due(order_id, buyer_id)
            payment = Payment.begin(due, method=method, request_key=request_key, now=datetime.now(UTC))
            await self._payments.add(payment)
        except (OrderNotFound, OrderNotPayable):
            # Perhaps this is a repeated request.
            earlier = await self._payments.under_key(buyer_id, request_key) if request_key else None
            if earlier is None:
                raise
            if (earlier.order_id, earlier.method) != (order_id, method):
                raise IdempotencyKeyReused("this Idempotency-Key was used for another payment") from None
            return await self._answered(earlier)
        try:
            payment = await self._charge(payment)
        except (GatewayTimeout, GatewayUnavailable) as error:
            log.warning("payment %s stays open: %s", payment.id, error)
        else:
            payment = await self._until_answered(payment, self._word_timeout)
        return await self._payments.change(payment, Payment.leave_open)

    async def receive_webhook(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Handle a webhook call: read the charge that it names. Raises `BadSignature`.

        Calls come late, twice and out of order, so only the charge as it is now counts. Returns False if the call is
        about no payment of Souk.
        """
        reference = self._gateway.verify(body, headers)
        if reference and await self.hear(reference):
            return True
        log.warning("ignored a webhook call about %s: not a charge of Souk", reference)
        return False

    async def hear(self, reference: str) -> bool:
        """There is news of a charge: read it, and let its payment follow. Returns False if no payment is Souk's."""
        call = Call(ProviderOperation.RETRIEVE)
        found = await self._gateway.retrieve(reference)
        payment = await self._payments.find(found.payment_id) if found else None
        if found is None or payment is None:
            return False
        await self._follow(payment, call, found)
        return True

    async def accept(self, payment_id: str) -> None:
        """Capture an authorized payment, soon and once. Raises `PaymentNotFound` and `NotAuthorized`."""
        cause = asdict(current_cause())
        await self._owe(payment_id, lambda payment: payment.accepted(datetime.now(UTC), cause))

    async def give_back(self, payment_id: str, reason: str) -> None:
        """Release or refund a payment, soon and once. Raises `PaymentNotFound` and `NotCaptured`."""
        cause = asdict(current_cause())
        await self._owe(payment_id, lambda payment: payment.give_back(reason, datetime.now(UTC), cause))

    async def refund_again(self, payment_id: str, by: str) -> Payment:
        """Make a failed refund once more, soon. Raises `PaymentNotFound` and `NoFailedRefund`."""
        cause = asdict(current_cause())
        return await self._owe(payment_id, lambda payment: payment.refund_again(datetime.now(UTC), by, cause))

    async def settle_refund(self, payment_id: str, by: str, reason: str) -> Payment:
        """Record that a failed refund was paid by other means. Raises `PaymentNotFound` and `NoFailedRefund`."""
        return await self._owe(payment_id, lambda payment: payment.settle_refund(by, reason))

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[ChargeRecord]:
        """Charges as the gateway records them. Raises what `PaymentGateway.charges` does."""
        return await self._gateway.charges(after, limit, ids)

    async def ledger(self) -> str:
        """The collection of the charges. Raises `ChargesUnlisted`, or `ChangesLost` if they are elsewhere."""
        if self._gateway.ledger is None:
            raise ChangesLost("the charges are in no database of payments")
        await self._gateway.charges("", 1, [])
        return self._gateway.ledger

    async def settle(self, payment_id: str) -> None:
        """Do the next step of an open payment. Safe at any time and any number of times."""
        payment = await self._payments.get(payment_id)
        match payment.status:
            case PaymentStatus.CREATED | PaymentStatus.ABANDON_DUE:
                await self._charge(payment)
            case PaymentStatus.AUTHORIZED if await self._is_accepted(payment):
                await self.accept(payment_id)
            case PaymentStatus.PROCESSING | PaymentStatus.AUTHORIZED:
                await self._look_up(payment)
            case PaymentStatus.CAPTURE_DUE:
                await self._as_caused(payment, self._capture)
            case PaymentStatus.RELEASE_DUE:
                await self._as_caused(payment, self._release)
            case PaymentStatus.REFUND_DUE:
                await self._as_caused(payment, self._refund)
            case _:
                return  # Settled meanwhile.

    async def _due(self, order_id: str, buyer_id: str) -> Due:
        due = await self._dues.expect(order_id)
        if due is None or due.buyer_id != buyer_id:
            raise OrderNotFound("there is no such order")
        return due

    async def _owe(self, payment_id: str, transition: Transition) -> Payment:
        payment = await self._payments.change(await self._payments.get(payment_id), transition)
        self._unsettled.wake()
        return payment

    @staticmethod
    async def _as_caused(payment: Payment, work: Callable[[Payment], Awaitable[None]]) -> None:
        """Do what is due with the cause of its being due."""
        with caused_by(Cause(**payment.due_cause) if payment.due_cause else new_cause()):
            await work(payment)

    async def _charge(self, payment: Payment) -> Payment:
        """Make the charge, unless the order can't be paid any more: then make sure that nothing is taken."""
        charge = Charge(
            payment_id=payment.id,
            order_id=payment.order_id,
            amount=payment.amount,
            currency=payment.currency,
            method=payment.method,
            hold_ends_at=payment.hold_ends_at,
        )
        if payment.status is PaymentStatus.CREATED and await self._is_payable(payment):
            async with self._calling(payment, ProviderOperation.CHARGE) as call:
                answer = await self._gateway.charge(charge)
            return await self._payments.change(payment, call.answered(answer))
        # Saved before the gateway is told: a webhook may report the authorization at this moment, and orders accept it.
        payment = await self._payments.change(payment, Payment.abandon)
        if payment.status is not PaymentStatus.ABANDON_DUE:
            return payment
        async with self._calling(payment, ProviderOperation.RELEASE) as call:
            answer = await self._gateway.abandon(charge)
        return await self._payments.change(payment, call.answered(answer))

    async def _is_payable(self, payment: Payment) -> bool:
        """Whether the order may still be paid, as far as its events have come: nobody is charged after a "no"."""
        due = await self._dues.find(payment.order_id)
        try:
            if due:
                due.check_payable(datetime.now(UTC))
        except OrderNotPayable:
            return False
        return True

    async def _is_accepted(self, payment: Payment) -> bool:
        """Whether orders keeps the units for this payment: its word may have got lost on the way to the payment."""
        due = await self._dues.find(payment.order_id)
        return due is not None and due.accepted_payment == payment.id

    async def _capture(self, payment: Payment) -> None:
        async with self._calling(payment, ProviderOperation.CAPTURE) as call:
            answer = await self._gateway.capture(payment.id, payment.reference)
        await self._payments.change(payment, call.answered(answer))

    async def _release(self, payment: Payment) -> None:
        async with self._calling(payment, ProviderOperation.RELEASE) as call:
            answer = await self._gateway.release(payment.reference)
        await self._payments.change(payment, call.released(answer))

    async def _refund(self, payment: Payment) -> None:
        async with self._calling(payment, ProviderOperation.REFUND) as call:
            refunds = await self._gateway.refund(payment.id, payment.reference, payment.refund_attempt)
        await self._payments.change(payment, call.refunded(refunds, payment.reference, payment.refund_attempt))

    async def _look_up(self, payment: Payment) -> None:
        async with self._calling(payment, ProviderOperation.RETRIEVE) as call:
            found = await self._gateway.retrieve(payment.reference)
        if found is None:
            await self._payments.change(payment, call.not_found(payment.reference))
            raise GatewayUnavailable(f"the gateway no longer knows charge {payment.reference}")
        await self._follow(payment, call, found)

    async def _follow(self, payment: Payment, call: Call, found: Found) -> None:
        """The payment goes where the charge is, and then where its money went later."""
        for transition in (call.answered(found.answer), *news(found)):
            payment = await self._payments.change(payment, transition)
        await self._gateway.followed(found)

    @asynccontextmanager
    async def _calling(self, payment: Payment, operation: ProviderOperation) -> AsyncIterator[Call]:
        """A call to the gateway. If it fails, the payment records that, in a save of its own."""
        call = Call(operation)
        try:
            about = {"payment.provider.operation": operation}
            with (
                GATEWAY_CALLS.labels(operation).time(),
                working("payments", f"provider {operation}", current_cause(), "CLIENT", about),
            ):
                yield call
        except tuple(FAILURES) as error:
            GATEWAY_FAILURES.labels(operation, type(error).__name__).inc()
            await self._payments.change(payment, call.failed(error, payment.reference))
            raise

    async def _answered(self, payment: Payment) -> Payment:
        """Wait for the answer to the first request, which may run in another replica, or have died."""
        payment = await self._until_answered(payment, self._answer_timeout)
        return await self._payments.change(payment, Payment.leave_open)

    async def _until_answered(self, payment: Payment, limit: timedelta) -> Payment:
        deadline, pause = datetime.now(UTC) + limit, FIRST_PAUSE
        while payment.answer is None and datetime.now(UTC) < deadline:
            await self._payments.changed(payment.id, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            payment = await self._payments.get(payment.id)
        return payment
