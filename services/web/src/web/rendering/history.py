"""What happened to an order, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from web.clients.api import Order, Payment
from web.rendering.i18n import N_, Words


class Tone(StrEnum):
    """How a story is coloured."""

    WAITING = "waiting"
    GOOD = "good"
    OVER = "over"
    BAD = "bad"


@dataclass(frozen=True)
class Story:
    """An order for its buyer: a headline, what it means, and what he can do now."""

    tone: Tone
    headline: str
    text: str
    payable: bool = False
    """The payment form is shown."""
    moving: bool = False
    """Something is under way; the page looks again by itself."""
    client_secret: str | None = None
    """His bank waits for him to confirm; the page does it with this."""


STATUS = {
    "awaiting_payment": N_("Awaiting payment"),
    "paid": N_("Paid"),
    "cancelled": N_("Cancelled"),
    "expired": N_("Expired"),
    "refunded": N_("Refunded"),
}
TONES = {"awaiting_payment": Tone.WAITING, "paid": Tone.GOOD}


def status_of(order: Order, words: Words) -> str:
    """The status of an order in one word or two."""
    if order.status == "paid" and order.refund_requested:
        return words.gettext("Refund under way")
    return words.gettext(STATUS.get(order.status, order.status))


def tone_of(order: Order) -> Tone:
    """The colour of an order in a list."""
    return TONES.get(order.status, Tone.OVER)


def story_of(order: Order, payments: Sequence[Payment], words: Words) -> Story:
    """What the buyer of an order is told; `payments` are his tries, newest first."""
    _ = words.gettext
    states = [payment.status for payment in payments]
    match order.status:
        case "awaiting_payment":
            return _waiting(payments, words)
        case "paid" if order.refund_requested:
            return Story(
                Tone.WAITING, _("Your money is on its way back"), _("The seller has refunded this."), moving=True
            )
        case "paid" if order.late_payment == "accepted":
            text = _("Your payment came after the hold was over. The item was still free, so it is yours.")
            return Story(Tone.GOOD, _("It is yours"), text)
        case "paid":
            return Story(Tone.GOOD, _("It is yours"), _("Your payment has arrived. Thank you!"))
        case "refunded":
            return Story(Tone.OVER, _("Your money is back"), _("The seller has refunded this order in full."))
        case "expired":
            return _expired(order, states, words)
        case _:
            return _cancelled(order, states, words)


def _waiting(payments: Sequence[Payment], words: Words) -> Story:
    _ = words.gettext
    match [(payment.status, payment.client_secret) for payment in payments[:1]]:
        case [("processing", str(secret))]:
            text = _("Confirm this payment with your bank, and it is yours.")
            return Story(
                Tone.WAITING, _("Your bank wants to hear it from you"), text, moving=True, client_secret=secret
            )
        case [("processing", _)]:
            text = _("Your bank is still at it. You can leave this page; the outcome will be here.")
            return Story(Tone.WAITING, _("Your payment is being processed"), text, moving=True)
        case [("captured", _)]:
            text = _("We are finishing your order; this takes a moment.")
            return Story(Tone.WAITING, _("Your payment has arrived"), text, moving=True)
        case [("failed", _)]:
            text = _("Nothing was charged, and we still hold it for you. Try again, or use another card.")
            return Story(Tone.BAD, _("The card was declined"), text, payable=True)
    return Story(Tone.WAITING, _("We hold it for you"), _("Pay before the time is up, and it is yours."), payable=True)


def _expired(order: Order, states: Sequence[str], words: Words) -> Story:
    _ = words.gettext
    if order.late_payment == "rejected":
        if "captured" in states:
            text = _("Your payment came after the hold was over. The item was gone, so we are sending your money back.")
            return Story(Tone.WAITING, _("Too late, and your money is on its way back"), text, moving=True)
        text = _("Your payment came after the hold was over. The item was gone, so we sent your money back.")
        return Story(Tone.BAD, _("Too late, and your money is back"), text)
    if "processing" in states or "captured" in states:
        text = _(
            "A payment is still on its way. If it arrives while the item is free, it is yours; if not, you get your"
            " money back."
        )
        return Story(Tone.WAITING, _("The hold is over"), text, moving=True)
    text = _("The time to pay was up, so it went back on sale. Nothing was charged.")
    return Story(Tone.OVER, _("The hold is over"), text)


def _cancelled(order: Order, states: Sequence[str], words: Words) -> Story:
    _ = words.gettext
    if order.cancel_reason == "withdrawn":
        headline, text = _("The seller has withdrawn this"), _("Your hold has ended.")
    else:
        headline, text = _("You cancelled this order"), _("What we held for you is back on sale.")
    if "captured" in states or "processing" in states:
        money = _("A payment that arrives now is sent back.")
        return Story(Tone.OVER, headline, f"{text} {money}", moving=True)
    if "refunded" in states:
        money = _("Your payment came after that, so we sent your money back.")
        return Story(Tone.OVER, headline, f"{text} {money}")
    money = _("Nothing was charged.")
    return Story(Tone.OVER, headline, f"{text} {money}")
