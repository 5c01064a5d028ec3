"""Prove an address, get a lost password back, change password and address."""

from typing import Annotated

from fastapi import APIRouter, status

from auth.domain import BadCredentials, EmailTaken
from auth.fields import AnyPassword, Email, NewPassword, Token
from auth.password_rules import PasswordTooWeak
from auth.recovery.domain import TokenInvalid
from auth.recovery.recovery import Recovery
from auth.sessions.routes import Address
from common.errors import TooMany, Unauthenticated, Unavailable
from common.http.dependencies import Now, Provided
from common.http.paging import Body
from common.http.problems import problems
from common.http.sessions import CurrentSession, CurrentUser

router = APIRouter()

Recovering = Annotated[Recovery, Provided(Recovery)]


class LinkToken(Body):
    """The token of a link in a mail."""

    token: Token


class LostPassword(Body):
    """Whose password is lost."""

    email: Email


class ResetPassword(LinkToken):
    """The token of the link, and the new password."""

    new_password: NewPassword


class ChangePassword(Body):
    """The password that counts, and the one that shall."""

    current_password: AnyPassword
    new_password: NewPassword


class ChangeEmail(Body):
    """The password, and the address that shall count."""

    password: AnyPassword
    new_email: Email


@router.post("/verify-email", status_code=status.HTTP_204_NO_CONTENT, responses=problems(TokenInvalid, Unavailable))
async def verify_email(body: LinkToken, recovery: Recovering, now: Now) -> None:
    """The address is the user's: the link came there. Each token works once."""
    await recovery.verify(body.token, now)


@router.post(
    "/verify-email/send",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(Unauthenticated, TooMany, Unavailable),
)
async def send_verification(user: CurrentUser, address: Address, recovery: Recovering, now: Now) -> None:
    """Mail another link to the caller, unless their address is verified."""
    await recovery.ask_to_verify(user.id, address, now)


@router.post("/password-reset", status_code=status.HTTP_202_ACCEPTED, responses=problems(TooMany, Unavailable))
async def lost_password(body: LostPassword, address: Address, recovery: Recovering, now: Now) -> None:
    """Mail a link to a new password. Whether there is such an account shows neither in the answer nor in its time."""
    await recovery.ask_to_reset(body.email, address, now)


@router.post(
    "/password-reset/confirm",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(TokenInvalid, PasswordTooWeak, TooMany, Unavailable),
)
async def reset_password(body: ResetPassword, address: Address, recovery: Recovering, now: Now) -> None:
    """Set a new password, and end all sessions. Who has no role also loses passkeys and recovery codes."""
    await recovery.reset(body.token, body.new_password, address, now)


@router.post(
    "/password",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(BadCredentials, PasswordTooWeak, TooMany, Unavailable),
)
async def change_password(
    body: ChangePassword, session: CurrentSession, address: Address, recovery: Recovering, now: Now
) -> None:
    """Set a new password, and end all other sessions."""
    await recovery.change_password(session, body.current_password, body.new_password, address, now)


@router.post("/email", status_code=status.HTTP_202_ACCEPTED, responses=problems(BadCredentials, TooMany, Unavailable))
async def change_email(
    body: ChangeEmail, session: CurrentSession, address: Address, recovery: Recovering, now: Now
) -> None:
    """Mail a link to the new address. The old one counts until the link is used."""
    await recovery.ask_to_move(session, body.password, body.new_email, address, now)


@router.post(
    "/email/confirm",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(TokenInvalid, EmailTaken, Unavailable),
)
async def confirm_email(body: LinkToken, address: Address, recovery: Recovering, now: Now) -> None:
    """From now on the new address counts. The old one is told."""
    await recovery.move(body.token, address, now)


@router.post(
    "/email/undo",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(TokenInvalid, EmailTaken, Unavailable),
)
async def undo_email(body: LinkToken, address: Address, recovery: Recovering, now: Now) -> None:
    """The old address counts again, for three days after a change of it. All sessions end, and it gets a link to a new
    password. Who has no role also loses passkeys and recovery codes.
    """
    await recovery.take_back(body.token, address, now)
