"""HTTP models and routes of payments. No rules, no queries."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StringConstraints

from common.errors import IdempotencyKeyReused
from common.events import Currency, DisputeStatus, OrderId, PaymentId
from common.http.dependencies import IdempotencyKey, Provided
from common.http.paging import EXAMPLE_ID, Body, Cursor, Limit, Page, page_of
from common.http.problems import coded, problem, problems
from common.http.sessions import (
    CurrentUser,
    OperatorOnly,
    PasskeyNeeded,
    ProofNeeded,
    ProvedOperator,
    current_operator,
)
from payments.cashier import Cashier
from payments.domain import CardDeclined, Payment, PaymentNotFound, UnknownPaymentMethod
from payments.due import OrderNotFound, OrderNotPayable
from payments.gateways.port import ABANDONED, BadSignature
from payments.refunds import NoFailedRefund
from payments.status import PublicStatus
from payments.store import PaymentStore

router = APIRouter(prefix="/api/payments", tags=["payments"])

Store = Annotated[PaymentStore, Provided(PaymentStore)]
PaymentInPath = Annotated[PaymentId, Path(description="The payment's id.", examples=[EXAMPLE_ID])]
TheCashier = Annotated[Cashier, Provided(Cashier)]

FOR_OPERATORS = problems(OperatorOnly, PasskeyNeeded, ProofNeeded)


class NewPayment(Body):
    """Which order to pay, and with what."""

    order_id: Annotated[OrderId, StringConstraints(strip_whitespace=False), Field(examples=[EXAMPLE_ID])]
    payment_method: Annotated[
        str, StringConstraints(min_length=1, max_length=100, strip_whitespace=False), Field(examples=["pm_card_visa"])
    ]


class PaymentView(BaseModel):
    """A payment. `amount` is in minor units of `currency`, and so is `refunded_amount`, which went back of it by now.

    `client_secret` is present only while the gateway waits for the buyer, whose page confirms with it.
    """

    id: str
    order_id: str
    amount: int
    currency: Currency
    status: PublicStatus = Field(validation_alias="public_status")
    refunded_amount: int = Field(default=0, exclude_if=lambda amount: not amount)
    client_secret: str | None = Field(default=None, exclude_if=lambda secret: secret is None, repr=False)

    @classmethod
    def of(cls, payment: Payment) -> Self:
        """The view of a payment as it stands now."""
        return cls.model_validate(payment, from_attributes=True)

    @classmethod
    def answering(cls, payment: Payment) -> Self:
        """The answer to the request for this payment, also when it is repeated: what went back since is not in it.

        Raises `CardDeclined`, or `OrderNotPayable` when the order was settled or its hold over and nothing was taken.
        """
        if payment.answer is PublicStatus.FAILED and payment.failure_reason == ABANDONED:
            raise OrderNotPayable("nothing was taken: the order was settled or its hold over")
        if payment.answer is PublicStatus.FAILED:
            raise CardDeclined(f"the payment was declined: {payment.failure_reason}")
        if payment.answer is PublicStatus.RELEASED:
            raise OrderNotPayable(f"nothing was taken: {payment.refund_reason}")
        return cls.of(payment).model_copy(update={"status": payment.answer, "refunded_amount": 0})


class PaymentRecord(PaymentView):
    """A payment in its buyer's list. `reason` says why it failed, was released, is refunded or disputed."""

    reason: str | None


class TroubledPayment(PaymentRecord):
    """A payment that an operator should look at: its refund failed, or the buyer's bank disputes it.

    `reference` is the provider's id of the charge. `dispute` says who has the money of a disputed payment.
    `settled_amount`, in minor units of `currency`, an operator gave back by other means.
    """

    buyer_id: str
    reference: str
    refund_reason: str | None
    refund_attempt: int
    settled_amount: int = Field(default=0, exclude_if=lambda amount: not amount)
    dispute: DisputeStatus | None
    in_trouble_since: datetime | None


class Settlement(Body):
    """Why a failed refund needs nothing more: how its money went back."""

    reason: Annotated[
        str, StringConstraints(min_length=1, max_length=500), Field(examples=["paid back by bank transfer"])
    ]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems(OrderNotFound, OrderNotPayable, CardDeclined, UnknownPaymentMethod, IdempotencyKeyReused),
)
async def pay_order(
    body: NewPayment, user: CurrentUser, cashier: TheCashier, idempotency_key: IdempotencyKey = None
) -> PaymentView:
    """Take what is due for one of the caller's orders. `processing` means that the outcome follows, in the list."""
    payment = await cashier.pay(body.order_id, body.payment_method, user.id, idempotency_key)
    return PaymentView.answering(payment)


@router.get("")
async def list_payments(
    user: CurrentUser,
    store: Store,
    order_id: Annotated[
        OrderId | None, Query(description="Only payments for this order.", examples=[EXAMPLE_ID])
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[PaymentRecord]:
    """The caller's own payments, of one order or all, newest first."""
    return await page_of(
        lambda most: store.made_by(user.id, order_id, most, cursor), limit, PaymentRecord.of, lambda payment: payment.id
    )


class Received(BaseModel):
    """What became of a webhook call: `ignored` if it is about no charge of ours."""

    status: Literal["ok", "ignored"]


WEBHOOK = {
    "requestBody": {
        "required": True,
        "description": "Stripe's event, or the sandbox's `{id, reference}`. Nothing in it is trusted but which charge "
        "has changed: the provider is then asked how.",
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": {"id": "evt_1", "reference": "ch_1"}}
        },
    },
    "parameters": [
        {
            "name": name,
            "in": "header",
            "description": f"Signs the time and the raw body, with HMAC-SHA256: `t=1764400000,v1=5257a8...`. {who}",
            "schema": {"type": "string"},
            "example": "t=1764400000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
        }
        for name, who in (("Stripe-Signature", "From Stripe."), ("Sandbox-Signature", "From the sandbox."))
    ],
}


@router.post(
    "/webhook",
    openapi_extra=WEBHOOK,
    responses={400: coded(BadSignature), 200: {"model": Received}},
)
async def receive_webhook(request: Request, cashier: TheCashier) -> Response:
    """The payment gateway reports that a charge has changed. The signature covers the raw body."""
    try:
        ours = await cashier.receive_webhook(await request.body(), request.headers)
    except BadSignature as error:
        return problem(status.HTTP_400_BAD_REQUEST, error.code, str(error))
    return JSONResponse({"status": "ok" if ours else "ignored"})


@router.get("/trouble", dependencies=[Depends(current_operator)], responses=FOR_OPERATORS)
async def list_trouble(
    store: Store,
    lost: Annotated[bool, Query(description="Also those whose dispute is lost.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[TroubledPayment]:
    """For operators: payments whose refund failed or whose dispute is open, newest first.

    With `lost` also those whose dispute is lost: nothing is left to do about them.
    """
    return await page_of(
        lambda most: store.in_trouble(most, cursor, lost=lost), limit, TroubledPayment.of, lambda payment: payment.id
    )


@router.post(
    "/{payment_id}/refund/retry",
    status_code=status.HTTP_202_ACCEPTED,
    responses={**problems(PaymentNotFound, NoFailedRefund), **FOR_OPERATORS},
)
async def retry_refund(payment_id: PaymentInPath, user: ProvedOperator, cashier: TheCashier) -> TroubledPayment:
    """For operators: make a failed refund once more."""
    return TroubledPayment.of(await cashier.refund_again(payment_id, user.email))


@router.post("/{payment_id}/refund/settled", responses={**problems(PaymentNotFound, NoFailedRefund), **FOR_OPERATORS})
async def settle_refund(
    payment_id: PaymentInPath, body: Settlement, user: ProvedOperator, cashier: TheCashier
) -> TroubledPayment:
    """For operators: record that the money of a failed refund went back by other means."""
    return TroubledPayment.of(await cashier.settle_refund(payment_id, user.email, body.reason))
