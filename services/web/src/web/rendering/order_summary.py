"""What the page of an order says to its buyer, by the state of the order and its payments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from web.clients.models import Order, OrderSnapshot, Payment
from web.rendering.i18n import N_, I18n


class Tone(StrEnum):
    """The colour of what is shown."""

    WAITING = "waiting"
    GOOD = "good"
    OVER = "over"
    BAD = "bad"


@dataclass(frozen=True)
class OrderSummary:
    """An order for its buyer: a headline, what it means, and what they can do now."""

    tone: Tone
    headline: str
    text: str
    payable: bool = False
    """The payment form is shown."""
    counting: bool = False
    """The time to pay is shown, for as long as the order is held."""
    cancellable: bool = False
    """The buyer is offered to cancel the order, for as long as it is held."""
    moving: bool = False
    """Something is under way: the page refreshes by itself."""
    client_secret: str | None = None
    """Set while the buyer's bank waits for a confirmation. The page confirms with it."""
    part: str = ""
    """How much of the money went back, if that is not all."""


STATUS = {
    "awaiting_payment": N_("Awaiting payment"),
    "paid": N_("Paid"),
    "cancelled": N_("Cancelled"),
    "expired": N_("Expired"),
    "refunded": N_("Refunded"),
}
UNDER_WAY = frozenset({"processing", "authorized", "captured"})
"""Statuses of a payment that is not over, of an order that is."""

SETTLED = frozenset({"paid", "refunded"})
"""Statuses of an order that say all about its money."""

TONES = {"awaiting_payment": Tone.WAITING, "paid": Tone.GOOD}


def status_of(order: OrderSnapshot, i18n: I18n) -> str:
    """The status of an order in a word or two."""
    if order.with_bank:
        return i18n.gettext("Disputed") if order.dispute == "open" else i18n.gettext("Taken back by the bank")
    if order.refund_failure:
        return i18n.gettext("Refund failed")
    if order.refund_under_way:
        return i18n.gettext("Refund under way")
    if order.being_paid:
        return i18n.gettext("Being paid")
    return i18n.gettext(STATUS.get(order.status, order.status))


def tone_of(order: OrderSnapshot) -> Tone:
    """The colour of an order in a list."""
    return Tone.BAD if order.refund_failure or order.with_bank else TONES.get(order.status, Tone.OVER)


def summary_of(order: Order, payments: Sequence[Payment] | None, i18n: I18n) -> OrderSummary:
    """The summary of an order for its buyer.

    `payments` are their attempts to pay it, newest first. None if nobody knows at the moment.
    """
    back = max((payment.refunded_amount for payment in payments or () if payment.status != "refunded"), default=0)
    part = {"part": i18n.money(back, order.currency), "all": i18n.money(order.total, order.currency)}
    text = i18n.gettext("%(part)s of %(all)s was refunded") % part if back else ""
    return replace(_summary_of(order, payments, i18n), part=text)


def _summary_of(order: Order, payments: Sequence[Payment] | None, i18n: I18n) -> OrderSummary:
    _ = i18n.gettext
    if payments is None and order.status not in SETTLED:
        text = _("We can't reach our payment desk for a moment. Nothing is lost, and this page looks again by itself.")
        return OrderSummary(Tone.WAITING, status_of(order, i18n), text, counting=True, cancellable=True, moving=True)
    disputed = order.with_bank if payments is None else any(payment.status == "disputed" for payment in payments)
    payments = payments or ()
    states = [payment.status for payment in payments]
    if disputed:
        text = _("You have asked your bank to take this payment back. It has the money now.")
        return OrderSummary(Tone.BAD, _("This payment is disputed"), text)
    if order.refund_failure or "refund_failed" in states:
        text = _("Your bank did not take it. Your money is safe with us, and we are looking for another way.")
        return OrderSummary(Tone.BAD, _("We could not send your money back"), text)
    match order.status:
        case "awaiting_payment" if order.being_paid:
            text = _("Your bank has agreed, and we keep it for you. This takes a moment.")
            return OrderSummary(Tone.WAITING, _("Your payment is being made"), text, moving=True)
        case "awaiting_payment":
            return _waiting(payments, i18n)
        case "paid" if order.refund_requested:
            text = _("The seller has refunded this.")
            return OrderSummary(Tone.WAITING, _("Your money is on its way back"), text, moving=True)
        case "paid" if "refunded" in states and "captured" not in states:
            return OrderSummary(Tone.WAITING, _("Your money is on its way back"), _("It was refunded."), moving=True)
        case "paid" if order.late_payment == "accepted":
            text = _("Your payment came after the hold was over. The item was still free, so it is yours.")
            return OrderSummary(Tone.GOOD, _("It is yours"), text)
        case "paid":
            return OrderSummary(Tone.GOOD, _("It is yours"), _("Your payment has arrived. Thank you!"))
        case "refunded":
            by_seller = _("The seller has refunded this order in full.")
            text = by_seller if order.refund_requested else _("This order was refunded in full.")
            return OrderSummary(Tone.OVER, _("Your money is back"), text)
        case "expired":
            return _expired(order, states, i18n)
        case _:
            return _cancelled(order, states, i18n)


def _waiting(payments: Sequence[Payment], i18n: I18n) -> OrderSummary:
    _ = i18n.gettext
    match [(payment.status, payment.client_secret) for payment in payments[:1]]:
        case [("processing", str(secret))]:
            headline = _("Your bank asks you to confirm")
            text = _("Confirm this payment with your bank, and it is yours.")
            return OrderSummary(
                Tone.WAITING, headline, text, moving=True, client_secret=secret, counting=True, cancellable=True
            )
        case [("processing", _)]:
            text = _("Your bank has not answered yet. You can leave this page and come back for the result.")
            headline = _("Your payment is being processed")
            return OrderSummary(Tone.WAITING, headline, text, moving=True, cancellable=True)
        case [("authorized", _)]:
            text = _("Your bank has agreed. We are finishing your order. This takes a moment.")
            return OrderSummary(Tone.WAITING, _("Your payment is being made"), text, moving=True)
        case [("captured", _)]:
            text = _("We are finishing your order. This takes a moment.")
            return OrderSummary(Tone.WAITING, _("Your payment has arrived"), text, moving=True)
        case [("failed" | "released", _)]:
            text = _("Nothing was charged, and we still hold it for you. Try again, or use another card.")
            headline = _("The card was declined")
            return OrderSummary(Tone.BAD, headline, text, payable=True, counting=True, cancellable=True)
    text = _("Pay before the time is up, and it is yours.")
    return OrderSummary(Tone.WAITING, _("We hold it for you"), text, payable=True, counting=True, cancellable=True)


def _expired(order: Order, states: Sequence[str], i18n: I18n) -> OrderSummary:
    _ = i18n.gettext
    if order.late_payment == "rejected":
        return _rejected(states, i18n)
    if UNDER_WAY.intersection(states):
        text = _(
            "A payment is still on its way. If it arrives while the item is free, it is yours; if not, you keep your"
            " money or get it back."
        )
        return OrderSummary(Tone.WAITING, _("The hold is over"), text, moving=True)
    text = _("The time to pay was up, so it went back on sale. Nothing was charged.")
    return OrderSummary(Tone.OVER, _("The hold is over"), text)


def _rejected(states: Sequence[str], i18n: I18n) -> OrderSummary:
    """A payment came after the hold was over, and its units were gone."""
    _ = i18n.gettext
    if "captured" in states:
        text = _("Your payment came after the hold was over. The item was gone, so we are sending your money back.")
        return OrderSummary(Tone.WAITING, _("Too late, and your money is on its way back"), text, moving=True)
    if "refunded" in states:
        text = _("Your payment came after the hold was over. The item was gone, so we sent your money back.")
        return OrderSummary(Tone.BAD, _("Too late, and your money is back"), text)
    text = _("Your payment came after the hold was over. The item was gone, so nothing was charged.")
    return OrderSummary(Tone.BAD, _("Too late, and nothing was charged"), text, moving="authorized" in states)


def _cancelled(order: Order, states: Sequence[str], i18n: I18n) -> OrderSummary:
    _ = i18n.gettext
    tone = Tone.OVER
    match order.cancel_reason:
        case "withdrawn":
            headline, text = _("The seller has withdrawn this"), _("Your hold has ended.")
        case "operator":
            headline = _("Souk has cancelled this order")
            text = _("What we held for you is back on sale.")
        case "payment_failed":
            tone = Tone.BAD
            headline = _("Your payment did not go through")
            text = _("Your bank agreed at first, but then did not pay. What we held for you is back on sale.")
            if order.payment_failure:
                reason = order.payment_failure.replace("_", " ")
                text += " " + _("The reason it gave: %(reason)s.") % {"reason": reason}
        case _:
            headline, text = _("You cancelled this order"), _("What we held for you is back on sale.")
    if UNDER_WAY.intersection(states):
        money = _("A payment that is still on its way is not taken, or sent back.")
        return OrderSummary(tone, headline, f"{text} {money}", moving=True)
    if "refunded" in states:
        money = _("Your payment came after that, so we sent your money back.")
        return OrderSummary(tone, headline, f"{text} {money}")
    money = _("Nothing was charged.")
    return OrderSummary(tone, headline, f"{text} {money}")
