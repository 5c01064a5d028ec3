"""Which events ask for which mail. No rules."""

from common.bus.consumers import Consumers
from common.clock import now
from common.directory import Directory
from common.events import (
    CancelReason,
    EmailChanged,
    EmailChangeRequested,
    OrderCancelled,
    OrderPaid,
    PasskeysChanged,
    PasswordChanged,
    PasswordResetRequested,
    PaymentPartlyRefunded,
    PaymentRefunded,
    RolesChanged,
    SessionEnd,
    SessionEnded,
    SignUpRepeated,
    TicketTransferOffered,
    UserErased,
    UserRegistered,
    VerificationRequested,
)
from common.http.sessions import OPERATOR
from common.telemetry import current_cause
from notifications.desk import MailDesk
from notifications.domain import Kind, Mail, hold_expired, part_refund, receipt, refund, ticket_offer
from notifications.store import MailStore, PersonStore

consumers = Consumers("notifications")


@consumers.on(UserRegistered)
async def remember_person(event: UserRegistered, people: PersonStore, directory: Directory) -> None:
    """From now on mails reach this person."""
    if event.email and event.name:  # Of a revision before.
        await people.keep(event.user_id, event.email, event.email_version, name=event.name, language=event.language)
    elif contact := await directory.contact(event.user_id):
        await people.keep_contact(event.user_id, contact)


@consumers.on(UserErased)
async def forget_person(event: UserErased, people: PersonStore, mails: MailStore) -> None:
    """No mail to them is sent any more, and none is kept."""
    person = await people.known(event.user_id)
    await mails.forget(event.user_id, person.email if person else None)
    await people.forget(event.user_id)


@consumers.on(EmailChanged)
async def move_to_new_address(event: EmailChanged, people: PersonStore, desk: MailDesk, directory: Directory) -> None:
    """Mails go to the new address, after one that tells the old one."""
    if contact := await directory.contact(event.user_id):
        await people.keep_contact(event.user_id, contact)
    change = await directory.address_change(event.request_id) if event.request_id else None
    if change:
        key = f"{event.user_id}:{event.email_version}"
        facts = {"email": change.new_email, "request_id": event.request_id}
        told = Mail.about(Kind.EMAIL_CHANGED, key, event.user_id, facts, to=change.email)
        await desk.take(event, told)


@consumers.on(VerificationRequested)
async def send_verification(event: VerificationRequested, desk: MailDesk) -> None:
    """The person gets a link that proves their address; with a welcome, if they have just signed up."""
    kind = Kind.WELCOME if event.welcome else Kind.VERIFY_EMAIL
    facts, version = {"request_id": event.request_id}, event.email_version
    await desk.take(event, Mail.about(kind, event.request_id, event.user_id, facts, email_version=version))


@consumers.on(PasswordResetRequested)
async def send_password_reset(event: PasswordResetRequested, desk: MailDesk) -> None:
    """The person gets a link to a new password."""
    facts = {"request_id": event.request_id}
    version = event.email_version
    mail = Mail.about(Kind.RESET_PASSWORD, event.request_id, event.user_id, facts, email_version=version)
    await desk.take(event, mail)


@consumers.on(EmailChangeRequested)
async def send_email_confirmation(event: EmailChangeRequested, desk: MailDesk, directory: Directory) -> None:
    """The new address gets a link that makes it the person's."""
    if change := await directory.address_change(event.request_id):
        facts, to = {"request_id": event.request_id}, change.new_email
        await desk.take(event, Mail.about(Kind.CHANGE_EMAIL, event.request_id, event.user_id, facts, to=to))


@consumers.on(PasswordChanged)
async def tell_about_new_password(event: PasswordChanged, desk: MailDesk) -> None:
    """The person is told, in case it was somebody else."""
    key = current_cause().event_id or event.user_id
    await desk.take(event, Mail.about(Kind.PASSWORD_CHANGED, key, event.user_id))


@consumers.on(PasskeysChanged)
async def tell_about_passkeys(event: PasskeysChanged, desk: MailDesk) -> None:
    """The person is told about their passkeys and recovery codes, in case it was somebody else."""
    key = current_cause().event_id or event.user_id
    facts = {"change": event.change, "left": event.codes_left}
    await desk.take(event, Mail.about(Kind.PASSKEYS_CHANGED, key, event.user_id, facts))


@consumers.on(RolesChanged)
async def tell_about_rights(event: RolesChanged, desk: MailDesk) -> None:
    """The person is told that they are an operator, or no longer one: whoever did it may have meant somebody else."""
    facts = {"operator": OPERATOR in event.roles}
    key = f"{event.user_id}:{event.account_version}"
    await desk.take(event, Mail.about(Kind.ROLES_CHANGED, key, event.user_id, facts))


@consumers.on(SignUpRepeated)
async def tell_about_repeated_sign_up(event: SignUpRepeated, desk: MailDesk) -> None:
    """The owner of the address hears of it; nobody else does."""
    today = now().date().isoformat()  # Once a day is enough, however often somebody tries.
    await desk.take(event, Mail.about(Kind.SIGN_UP_REPEATED, f"{event.user_id}:{today}", event.user_id))


@consumers.on(SessionEnded)
async def tell_about_reused_session(event: SessionEnded, desk: MailDesk) -> None:
    """The person is told when a refresh token came twice; the other endings are their own."""
    if event.reason is SessionEnd.REUSED:
        await desk.take(event, Mail.about(Kind.SESSION_REUSED, event.session_id, event.user_id))


@consumers.on(OrderPaid)
async def send_receipt(event: OrderPaid, desk: MailDesk) -> None:
    """The buyer gets a receipt."""
    await desk.take(event, receipt(event))


@consumers.on(OrderPaid)
async def tell_seller(event: OrderPaid, desk: MailDesk) -> None:
    """The seller hears of the sale."""
    await desk.tell_seller(event)


@consumers.on(OrderCancelled)
async def tell_about_expiry(event: OrderCancelled, desk: MailDesk) -> None:
    """The buyer is told when a hold has run out; of other endings they know."""
    if event.reason is CancelReason.EXPIRED:
        await desk.take(event, hold_expired(event))


@consumers.on(PaymentRefunded)
async def tell_about_refund(event: PaymentRefunded, desk: MailDesk) -> None:
    """The buyer is told that the money is on its way back."""
    await desk.take(event, refund(event))


@consumers.on(PaymentPartlyRefunded)
async def tell_about_part_refund(event: PaymentPartlyRefunded, desk: MailDesk) -> None:
    """The buyer is told that a part of the money is on its way back; not of one that did not arrive."""
    if event.refunded_amount > event.refunded_before:
        await desk.take(event, part_refund(event))


@consumers.on(TicketTransferOffered)
async def send_ticket_offer(event: TicketTransferOffered, desk: MailDesk) -> None:
    """Somebody gets a link that makes a ticket theirs."""
    await desk.take(event, ticket_offer(event))
