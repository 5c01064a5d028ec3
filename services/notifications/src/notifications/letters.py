"""What each mail says, in the language of its reader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal

from common.events import PasskeyChange
from common.i18n import money, translations
from common.languages import LANGUAGES
from common.mail_tokens import MailTokens, Purpose
from common.order_numbers import readable_number
from notifications.domain import Facts, Kind

LOCALES = Path(__file__).parent / "locale"


@dataclass(frozen=True)
class Letter:
    """The words of a mail: what the layouts in `templates/` show, from top to bottom."""

    subject: str
    lines: Sequence[str]
    rows: Sequence[tuple[str, str]] = ()
    """Labels and values, as on a receipt."""
    button: tuple[str, str] | None = None
    """A text and the address that it leads to."""
    remarks: Sequence[str] = ()
    to_stranger: bool = False
    """It goes to somebody who may have no account, so it greets nobody by name."""


@dataclass(frozen=True)
class Words:
    """Texts, money and numbers in one language."""

    locale: Locale
    gettext: Callable[[str], str]
    ngettext: Callable[[str, str, int], str]

    def money(self, minor: int, currency: str) -> str:
        """An amount, as this language writes it."""
        return money(minor, currency, self.locale)


@cache
def words_of(language: str) -> Words:
    """The words of a language of Souk; English for any other."""
    known = language if language in LANGUAGES else "en"
    found = translations(LOCALES, known)
    return Words(Locale.parse(known), found.gettext, found.ngettext)


@dataclass(frozen=True)
class Letters:
    """Writes letters whose links lead to `site`."""

    site: str
    tokens: MailTokens
    transfers: MailTokens
    """Makes the tokens of offered tickets, with a key that auth does not have."""

    def write(self, kind: Kind, words: Words, facts: Facts) -> Letter:
        """The letter of a kind about these facts."""
        return WRITERS[kind](self, words, facts)

    def link(self, path: str) -> str:
        """The address of a page."""
        return f"{self.site}{path}"

    def token_link(self, path: str, purpose: Purpose, facts: Facts) -> str:
        """The address of a page, with the token of a request."""
        return self.link(f"{path}?token={self.tokens.token(purpose, facts['request_id'])}")


def welcome(to: Letters, words: Words, facts: Facts) -> Letter:
    """A new account."""
    _ = words.gettext
    return Letter(
        _("Welcome to Souk"),
        [
            _("your account is ready: look around, hold what you like, and sell what you no longer need."),
            _("Please confirm that this address is yours. The link works for 24 hours."),
        ],
        button=(_("Confirm my address"), to.token_link("/verify-email", Purpose.VERIFY_EMAIL, facts)),
        remarks=[_("If you did not sign up at Souk, you need not do anything.")],
    )


def verify_email(to: Letters, words: Words, facts: Facts) -> Letter:
    """A link that proves an address."""
    _ = words.gettext
    return Letter(
        _("Confirm your address"),
        [_("please confirm that this address is yours. The link works for 24 hours.")],
        button=(_("Confirm my address"), to.token_link("/verify-email", Purpose.VERIFY_EMAIL, facts)),
        remarks=[_("If you did not ask for this, you need not do anything.")],
    )


def reset_password(to: Letters, words: Words, facts: Facts) -> Letter:
    """A link to a new password."""
    _ = words.gettext
    return Letter(
        _("Choose a new password"),
        [_("somebody, hopefully you, asked for a new password for your account. The link works once, for one hour.")],
        button=(_("Choose a new password"), to.token_link("/reset-password", Purpose.RESET_PASSWORD, facts)),
        remarks=[_("If it was not you, you need not do anything: your password stays as it is.")],
    )


def password_changed(to: Letters, words: Words, _facts: Facts) -> Letter:
    """There is a new password."""
    _ = words.gettext
    return Letter(
        _("Your password was changed"),
        [_("your account has a new password, and every other device was signed out.")],
        button=(_("It was not me"), to.link("/forgot-password")),
        remarks=[_("If it was you, you need not do anything. The page “Security” shows your passkeys.")],
    )


def passkeys_changed(to: Letters, words: Words, facts: Facts) -> Letter:
    """Something about signing in without the password."""
    subject, line = _about_passkeys(words, PasskeyChange(facts["change"]), facts["left"] or 0)
    _ = words.gettext
    return Letter(
        subject,
        [line],
        button=(_("See your passkeys"), to.link("/my/security")),
        remarks=[_("If it was not you, remove what you do not recognise, end all sessions and change your password.")],
    )


def _about_passkeys(words: Words, change: PasskeyChange, left: int) -> tuple[str, str]:
    """Subject and text of a mail about passkeys."""
    _ = words.gettext
    match change:
        case PasskeyChange.ADDED:
            return _("A passkey was added"), _("your account has a new passkey. Whoever has it can sign in.")
        case PasskeyChange.REMOVED:
            return _("A passkey was removed"), _("one of your passkeys does not sign in any more.")
        case PasskeyChange.COPIED:
            return _("A passkey was refused"), _(
                "somebody tried to sign in with one of your passkeys, and its counter shows that there may be a copy "
                "of it. We refused it. Remove that passkey and add another one."
            )
        case PasskeyChange.CODES_MADE:
            return _("You have new recovery codes"), _(
                "your account has ten new recovery codes. Older ones do not work."
            )
        case PasskeyChange.CODE_USED:
            text = _("somebody, hopefully you, signed in with a recovery code. Codes left: {left}.")
            return _("A recovery code was used"), text.format(left=left)
        case PasskeyChange.RESET:
            return _("Your passkeys were removed"), _(
                "your password was reset by mail, or you told us that you have lost your passkeys. So all passkeys and "
                "recovery codes of before are gone. Sign in with your password and add a new passkey."
            )


def roles_changed(to: Letters, words: Words, facts: Facts) -> Letter:
    """Somebody is an operator, or no longer one."""
    _ = words.gettext
    if facts["operator"]:
        return Letter(
            _("You are now an operator of Souk"),
            [
                _("you can now see everybody's orders, and decide about payments, dead letters and other operators."),
                _("Add a passkey: it confirms what cannot be undone. You stay signed in for 12 hours at most."),
            ],
            button=(_("Go to the operators' pages"), to.link("/operator")),
            remarks=[_("If you did not expect this, tell whoever runs Souk.")],
        )
    return Letter(
        _("You are no longer an operator of Souk"),
        [_("the operators' pages are closed to you from now on. All else about your account stays as it is.")],
        button=(_("Go to Souk"), to.link("/")),
        remarks=[_("If you did not expect this, tell whoever runs Souk.")],
    )


def change_email(to: Letters, words: Words, facts: Facts) -> Letter:
    """A link that confirms a new address."""
    _ = words.gettext
    return Letter(
        _("Confirm your new address"),
        [_("please confirm that this is the new address of your account. The link works for 24 hours.")],
        button=(_("Use this address"), to.token_link("/account/email/confirm", Purpose.CHANGE_EMAIL, facts)),
        remarks=[_("If you did not ask for this, you need not do anything.")],
    )


def email_changed(to: Letters, words: Words, facts: Facts) -> Letter:
    """The old address is told about the new one, and can take the change back."""
    _ = words.gettext
    undo = to.token_link("/account/email/undo", Purpose.UNDO_EMAIL, facts) if facts.get("request_id") else None
    return Letter(
        _("Your address was changed"),
        [_("from now on, your account has another e-mail address, and mails go there.")],
        rows=[(_("New address"), facts["email"])],
        button=(_("It was not me: take it back"), undo) if undo else None,
        remarks=[
            _(
                "If it was not you, somebody else may be using your account. For three days you can take the change "
                "back: that ends all sessions, and you get a link to a new password."
            )
        ],
    )


def sign_up_repeated(to: Letters, words: Words, _facts: Facts) -> Letter:
    """Somebody used the address of an account to sign up."""
    _ = words.gettext
    return Letter(
        _("You have an account already"),
        [_("somebody, hopefully you, tried to sign up with this address. It has an account at Souk already.")],
        button=(_("Sign in"), to.link("/signin")),
        remarks=[_("If it was not you, you need not do anything.")],
    )


def session_reused(to: Letters, words: Words, _facts: Facts) -> Letter:
    """A stolen session."""
    _ = words.gettext
    return Letter(
        _("You were signed out on one device"),
        [
            _("somebody used an old key of one of your sessions. It may be a copy, so we have ended that session."),
            _("Sign in again. If anything looks wrong, change your password."),
        ],
        button=(_("Sign in"), to.link("/signin")),
    )


def order_paid(to: Letters, words: Words, facts: Facts) -> Letter:
    """A receipt."""
    _ = words.gettext
    return Letter(
        _("Receipt: {title}").format(title=facts["item_title"]),
        [_("thank you! Your order is paid, and it is yours.")],
        rows=[*_order_rows(words, facts), (_("Paid"), words.money(facts["total"], facts["currency"]))],
        button=(_("See the order"), to.link(f"/orders/{facts['order_id']}")),
    )


def order_expired(to: Letters, words: Words, facts: Facts) -> Letter:
    """A hold ran out."""
    _ = words.gettext
    return Letter(
        _("Your hold has ended: {title}").format(title=facts["item_title"]),
        [
            _("your order was not paid in time, so its units are on sale again."),
            _("A payment that is still under way comes back to you, or the order is yours after all."),
            _("If there are any left, you can hold them once more."),
        ],
        rows=_order_rows(words, facts),
        button=(_("See the item"), to.link(f"/items/{facts['item_id']}")),
    )


def payment_refunded(to: Letters, words: Words, facts: Facts) -> Letter:
    """Money is on its way back."""
    _ = words.gettext
    amount = words.money(facts["amount"], facts["currency"])
    return Letter(
        _("Refund: {amount}").format(amount=amount),
        [_("your money is on its way back. Depending on your bank, it takes a few days to arrive.")],
        rows=[(_("Order"), readable_number(facts["order_id"])), (_("Refunded"), amount)],
        button=(_("See the order"), to.link(f"/orders/{facts['order_id']}")),
    )


def payment_partly_refunded(to: Letters, words: Words, facts: Facts) -> Letter:
    """A part of the money is on its way back."""
    _ = words.gettext
    amount, back, paid = (words.money(facts[name], facts["currency"]) for name in ("amount", "back", "paid"))
    return Letter(
        _("Refund: {amount}").format(amount=amount),
        [
            _("a part of your money is on its way back. Depending on your bank, it takes a few days to arrive."),
            _("Unless you hear otherwise, what you bought is still yours."),
        ],
        rows=[
            (_("Order"), readable_number(facts["order_id"])),
            (_("Refunded"), amount),
            (_("Refunded so far"), _("{back} of {paid}").format(back=back, paid=paid)),
        ],
        button=(_("See the order"), to.link(f"/orders/{facts['order_id']}")),
    )


def sold(to: Letters, words: Words, facts: Facts) -> Letter:
    """A sale, for its seller."""
    _ = words.gettext
    return Letter(
        _("Sold: {title}").format(title=facts["item_title"]),
        [_("you have sold something.")],
        rows=[*_order_rows(words, facts), (_("Total"), words.money(facts["total"], facts["currency"]))],
        button=(_("See my sales"), to.link("/my/sales")),
    )


def sales_of_a_day(to: Letters, words: Words, facts: Facts) -> Letter:
    """What a seller has sold in a day."""
    _ = words.gettext
    lines: Sequence[Mapping[str, Any]] = facts["lines"]
    quantity = sum(line["quantity"] for line in lines)
    day = format_date(facts["date"], "long", locale=words.locale)
    return Letter(
        _("Your sales of {day}").format(day=day),
        [
            words.ngettext("you have sold one unit.", "you have sold {quantity} units.", quantity).format(
                quantity=format_decimal(quantity, locale=words.locale)
            )
        ],
        rows=[
            (f"{line['quantity']} × {line['title']}", words.money(line["total"], line["currency"])) for line in lines
        ],
        button=(_("See my sales"), to.link("/my/sales")),
    )


def ticket_offered(to: Letters, words: Words, facts: Facts) -> Letter:
    """A ticket that somebody gives away."""
    _ = words.gettext
    token = to.transfers.token(Purpose.ACCEPT_TICKET, facts["request_id"])
    return Letter(
        _("A ticket for you: {title}").format(title=facts["item_title"]),
        [
            _("{name} would like to give you a ticket. To take it, you need an account at Souk.").format(
                name=facts["giver"]
            ),
            _("The link works for seven days, unless the ticket is taken back before."),
        ],
        rows=[(_("Event"), facts["item_title"])],
        button=(_("Take the ticket"), to.link(f"/tickets/accept?token={token}")),
        remarks=[_("If you do not know what this is about, you need not do anything.")],
        to_stranger=True,
    )


def operator_message(to: Letters, words: Words, facts: Facts) -> Letter:
    """What an operator has typed, in their words."""
    _ = words.gettext
    number = readable_number(facts["order_id"])
    return Letter(
        _("A message about order {number}").format(number=number),
        [
            _("the people who run Souk write to you about order {number}:").format(number=number),
            *(line.strip() for line in facts["text"].splitlines() if line.strip()),
        ],
        button=(_("Go to Souk"), to.link("/")),
        remarks=[_("Nobody from Souk will ever ask for your password or for the number of your card.")],
    )


WRITERS: Mapping[Kind, Callable[[Letters, Words, Facts], Letter]] = {
    Kind.WELCOME: welcome,
    Kind.VERIFY_EMAIL: verify_email,
    Kind.RESET_PASSWORD: reset_password,
    Kind.PASSWORD_CHANGED: password_changed,
    Kind.PASSKEYS_CHANGED: passkeys_changed,
    Kind.ROLES_CHANGED: roles_changed,
    Kind.CHANGE_EMAIL: change_email,
    Kind.EMAIL_CHANGED: email_changed,
    Kind.SIGN_UP_REPEATED: sign_up_repeated,
    Kind.SESSION_REUSED: session_reused,
    Kind.ORDER_PAID: order_paid,
    Kind.ORDER_EXPIRED: order_expired,
    Kind.PAYMENT_REFUNDED: payment_refunded,
    Kind.PAYMENT_PARTLY_REFUNDED: payment_partly_refunded,
    Kind.SOLD: sold,
    Kind.SALES_OF_A_DAY: sales_of_a_day,
    Kind.TICKET_OFFERED: ticket_offered,
    Kind.OPERATOR_MESSAGE: operator_message,
}


def _order_rows(words: Words, facts: Facts) -> list[tuple[str, str]]:
    _ = words.gettext
    price = words.money(facts["unit_price"], facts["currency"])
    return [
        (_("Order"), readable_number(facts["order_id"])),
        (_("Item"), facts["item_title"]),
        (_("Quantity"), f"{format_decimal(facts['quantity'], locale=words.locale)} × {price}"),
    ]
