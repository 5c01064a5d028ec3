"""Which mail an event asks for. No I/O."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from common.events import OrderState, PaymentPartlyRefunded, PaymentRefunded, TicketTransferOffered

Facts = dict[str, Any]
"""What a mail says, as JSON and MongoDB store it: never a secret, never a token."""


class Kind(StrEnum):
    """What a mail is about; its templates have the same name."""

    WELCOME = "welcome"
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of a mail
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a mail
    PASSKEYS_CHANGED = "passkeys_changed"
    ROLES_CHANGED = "roles_changed"
    CHANGE_EMAIL = "change_email"
    EMAIL_CHANGED = "email_changed"
    SIGN_UP_REPEATED = "sign_up_repeated"
    SESSION_REUSED = "session_reused"
    ORDER_PAID = "order_paid"
    ORDER_EXPIRED = "order_expired"
    PAYMENT_REFUNDED = "payment_refunded"
    PAYMENT_PARTLY_REFUNDED = "payment_partly_refunded"
    SOLD = "sold"
    SALES_OF_A_DAY = "sales_of_a_day"
    TICKET_OFFERED = "ticket_offered"
    OPERATOR_MESSAGE = "operator_message"


class MailState(StrEnum):
    """`failed` is final: the receiving server refused the mail, or it could not be sent for days."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class Mail(BaseModel):
    """One mail to one person. Its id says what it is about, so that no event asks for two.

    It goes to `to`, or, where that is None, to the address that the person has when it is sent; but never to one older
    than `email_version`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind
    user_id: str
    facts: Facts = {}
    to: str | None = None
    email_version: int = 1
    state: MailState = MailState.PENDING
    created_at: datetime | None = None

    @classmethod
    def about(
        cls,
        kind: Kind,
        key: str,
        user_id: str,
        facts: Facts | None = None,
        to: str | None = None,
        email_version: int = 1,
    ) -> "Mail":
        """The mail of this kind about what `key` names: an order, a request, an event."""
        return cls(
            id=f"{kind}:{key}", kind=kind, user_id=user_id, facts=facts or {}, to=to, email_version=email_version
        )


class Person(BaseModel):
    """Whom mails go to."""

    model_config = ConfigDict(frozen=True)

    id: str
    email: str
    name: str
    language: str
    email_version: int


def receipt(order: OrderState) -> Mail:
    """An order is paid: what the buyer has bought."""
    return Mail.about(Kind.ORDER_PAID, order.order_id, order.buyer_id, _order(order))


def hold_expired(order: OrderState) -> Mail:
    """An order was not paid in time."""
    return Mail.about(Kind.ORDER_EXPIRED, order.order_id, order.buyer_id, _order(order))


def sale(order: OrderState) -> Mail:
    """The seller has sold something."""
    return Mail.about(Kind.SOLD, order.order_id, order.seller_id, _order(order))


def sales_of(seller_id: str, day: str) -> Mail:
    """What a seller has sold in a day (UTC, `2026-11-28`)."""
    return Mail.about(Kind.SALES_OF_A_DAY, f"{seller_id}:{day}", seller_id, {"seller_id": seller_id, "day": day})


def refund(payment: PaymentRefunded) -> Mail:
    """Money went back to the buyer: what had not gone back before."""
    left = payment.amount - payment.refunded_before
    facts = {"order_id": payment.order_id, "amount": left, "currency": payment.currency}
    return Mail.about(Kind.PAYMENT_REFUNDED, payment.payment_id, payment.buyer_id, facts)


def part_refund(payment: PaymentPartlyRefunded) -> Mail:
    """A part of the money went back to the buyer: one mail for each amount that is reached."""
    facts = {
        "order_id": payment.order_id,
        "amount": payment.refunded_amount - payment.refunded_before,
        "back": payment.refunded_amount,
        "paid": payment.amount,
        "currency": payment.currency,
    }
    key = f"{payment.payment_id}:{payment.refunded_amount}"
    return Mail.about(Kind.PAYMENT_PARTLY_REFUNDED, key, payment.buyer_id, facts)


def ticket_offer(event: TicketTransferOffered) -> Mail:
    """Somebody is offered a ticket, in the language of who offers it. Tickets is asked for the address at sending."""
    facts = event.model_dump(include={"request_id", "item_title"})
    return Mail.about(Kind.TICKET_OFFERED, event.request_id, event.holder_id, facts)


def operator_message(key: str, user_id: str, order_id: str, text: str) -> Mail:
    """What an operator has written to the buyer or the seller of an order. `key` stands for this message alone."""
    return Mail.about(Kind.OPERATOR_MESSAGE, key, user_id, {"order_id": order_id, "text": text})


def _order(order: OrderState) -> Facts:
    return {
        **order.model_dump(include={"order_id", "item_id", "item_title", "quantity", "unit_price", "currency"}),
        "total": order.quantity * order.unit_price,
    }
