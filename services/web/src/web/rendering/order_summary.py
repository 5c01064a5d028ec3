"""What the page of an order says to its buyer, by the state of the order and its payments."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    moving: bool = False
    """Something is under way: the page refreshes by itself."""
    client_secret: str | None = None
    """Set while the buyer's bank waits for a confirmation. The page confirms with it."""


STATUS = {
    "awaiting_payment": N_("Awaiting payment"),
    "paid": N_("Paid"),
    "cancelled": N_("Cancelled"),
    "expired": N_("Expired"),
    "refunded": N_("Refunded"),
}
TONES = {"awaiting_payment": Tone.WAITING, "paid": Tone.GOOD}


def status_of(order: OrderSnapshot, i18n: I18n) -> str:
    """The status of an order in a word or two."""
    if order.refund_under_way:
        return i18n.gettext("Refund under way")
    return i18n.gettext(STATUS.get(order.status, order.status))


def tone_of(order: OrderSnapshot) -> Tone:
    """The colour of an order in a list."""
    return TONES.get(order.status, Tone.OVER)


def summary_of(order: Order, payments: Sequence[Payment], i18n: I18n) -> OrderSummary:
    """The summary of an order for its buyer. `payments` are their attempts to pay it, newest first."""
    _ = i18n.gettext
    states = [payment.status for payment in payments]
    match order.status:
        case "awaiting_payment":
            return _waiting(payments, i18n)
        case "paid" if order.refund_requested:
            text = _("The seller has refunded this.")
            return OrderSummary(Tone.WAITING, _("Your money is on its way back"), text, moving=True)
        case "paid" if order.late_payment == "accepted":
            text = _("Your payment came after the hold was over. The item was still free, so it is yours.")
            return OrderSummary(Tone.GOOD, _("It is yours"), text)
        case "paid":
            return OrderSummary(Tone.GOOD, _("It is yours"), _("Your payment has arrived. Thank you!"))
        case "refunded":
            text = _("The seller has refunded this order in full.")
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
            return OrderSummary(Tone.WAITING, headline, text, moving=True, client_secret=secret)
        case [("processing", _)]:
            text = _("Your bank has not answered yet. You can leave this page and come back for the result.")
            return OrderSummary(Tone.WAITING, _("Your payment is being processed"), text, moving=True)
        case [("captured", _)]:
            text = _("We are finishing your order. This takes a moment.")
            return OrderSummary(Tone.WAITING, _("Your payment has arrived"), text, moving=True)
        case [("failed", _)]:
            text = _("Nothing was charged, and we still hold it for you. Try again, or use another card.")
            return OrderSummary(Tone.BAD, _("The card was declined"), text, payable=True)
    text = _("Pay before the time is up, and it is yours.")
    return OrderSummary(Tone.WAITING, _("We hold it for you"), text, payable=True)


def _expired(order: Order, states: Sequence[str], i18n: I18n) -> OrderSummary:
    _ = i18n.gettext
    if order.late_payment == "rejected":
        if "captured" in states:
            text = _("Your payment came after the hold was over. The item was gone, so we are sending your money back.")
            return OrderSummary(Tone.WAITING, _("Too late, and your money is on its way back"), text, moving=True)
        text = _("Your payment came after the hold was over. The item was gone, so we sent your money back.")
        return OrderSummary(Tone.BAD, _("Too late, and your money is back"), text)
    if "processing" in states or "captured" in states:
        text = _(
            "A payment is still on its way. If it arrives while the item is free, it is yours; if not, you get your"
            " money back."
        )
        return OrderSummary(Tone.WAITING, _("The hold is over"), text, moving=True)
    text = _("The time to pay was up, so it went back on sale. Nothing was charged.")
    return OrderSummary(Tone.OVER, _("The hold is over"), text)


def _cancelled(order: Order, states: Sequence[str], i18n: I18n) -> OrderSummary:
    _ = i18n.gettext
    if order.cancel_reason == "withdrawn":
        headline, text = _("The seller has withdrawn this"), _("Your hold has ended.")
    else:
        headline, text = _("You cancelled this order"), _("What we held for you is back on sale.")
    if "captured" in states or "processing" in states:
        money = _("A payment that arrives now is sent back.")
        return OrderSummary(Tone.OVER, headline, f"{text} {money}", moving=True)
    if "refunded" in states:
        money = _("Your payment came after that, so we sent your money back.")
        return OrderSummary(Tone.OVER, headline, f"{text} {money}")
    money = _("Nothing was charged.")
    return OrderSummary(Tone.OVER, headline, f"{text} {money}")
