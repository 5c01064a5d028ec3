"""Sign up, sign in, and who am I."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response, status
from pydantic import BaseModel

from auth.domain import Account, BadCredentials, EmailTaken
from auth.erasure import routes as erasure
from auth.fields import AnyPassword, Email, Name, NewPassword
from auth.operators import routes as operators
from auth.passkeys import routes as passkeys
from auth.password_rules import PasswordTooWeak
from auth.passwords import Passwords
from auth.recovery import routes as recovery
from auth.recovery.recovery import Recovery
from auth.sessions import routes as sessions
from auth.sessions.domain import Method
from auth.sessions.routes import Address, CurrentClient, CurrentDevice, Keeper, SessionCookies
from auth.settings import AuthSettings
from auth.store import AccountStore
from auth.throttle import SignUpsFull, Throttle
from common.errors import StaleWrite, TooMany, Unavailable
from common.http.dependencies import Now, Provided
from common.http.paging import Body
from common.http.problems import problems
from common.http.sessions import OptionalUser, User
from common.languages import preferred_language
from common.security_log import note

router = APIRouter(prefix="/api/users", tags=["users"])
router.include_router(sessions.router)
router.include_router(recovery.router)
router.include_router(erasure.router)
router.include_router(passkeys.router)
router.include_router(operators.router)


Accounts = Annotated[AccountStore, Provided(AccountStore)]
Hashing = Annotated[Passwords, Provided(Passwords)]
Limits = Annotated[Throttle, Provided(Throttle)]


class SignUp(Body):
    """Somebody new."""

    email: Email
    password: NewPassword
    name: Name


class SignIn(Body):
    """Who signs in."""

    email: Email
    password: AnyPassword


class CheckMail(BaseModel):
    """The rest is in a mail, whether or not the address had an account already."""

    status: Literal["check_mail"] = "check_mail"


class WhoAmI(BaseModel):
    """The caller, or null."""

    current_user: User | None


@router.post(
    "/signup",
    status_code=status.HTTP_201_CREATED,
    responses={
        **problems(EmailTaken, PasswordTooWeak, TooMany, SignUpsFull, Unavailable),
        status.HTTP_202_ACCEPTED: {"model": CheckMail, "description": "Where ENV is prod: see the mail"},
    },
)
async def sign_up(
    body: SignUp,
    address: Address,
    response: Response,
    accounts: Accounts,
    passwords: Hashing,
    keeper: Keeper,
    cookies: SessionCookies,
    client: CurrentClient,
    recovering: Annotated[Recovery, Provided(Recovery)],
    throttle: Limits,
    settings: Annotated[AuthSettings, Provided(AuthSettings)],
    now: Now,
    accept_language: Annotated[
        str, Header(max_length=1000, description="The language of mails: English or German.", examples=["de"])
    ] = "",
) -> User | CheckMail:
    """Open an account and a session. Where ENV is prod, the answer is the same for an address that has one."""
    await throttle.count_signup(address)
    password_hash = await passwords.hash_new(body.password, address, body.name, body.email)
    tells_by_mail = settings.env == "prod"  # So it is counted whether or not there is an account.
    may_mail = tells_by_mail and await throttle.count_mail_to(body.email)
    language = preferred_language(accept_language)
    account = Account.register(email=body.email, name=body.name, password_hash=password_hash, language=language)
    try:
        await recovering.welcome(account, now)
        await accounts.save(account)
    except EmailTaken:
        if not tells_by_mail:
            raise
        if may_mail:
            await accounts.change(body.email, Account.repeat_sign_up)
    if tells_by_mail:
        response.status_code = status.HTTP_202_ACCEPTED
        return CheckMail()
    issued = await keeper.begin(account, client, now, Method.PASSWORD)
    cookies.set(response, issued)
    return issued.user


@router.post("/signin", responses=problems(BadCredentials, TooMany, Unavailable))
async def sign_in(
    body: SignIn,
    address: Address,
    response: Response,
    accounts: Accounts,
    passwords: Hashing,
    keeper: Keeper,
    cookies: SessionCookies,
    client: CurrentClient,
    throttle: Limits,
    device: CurrentDevice,
    now: Now,
) -> User:
    """Open a session. An unknown address takes as long, and answers the same, as a wrong password."""
    account = await accounts.find(body.email)
    known = device.device_of(account.id if account else None)
    async with throttle.guess(address, body.email, known=known) as guess:
        kept = account.password_hash if account else None
        guess.right, stronger_hash = await passwords.verify(body.password, kept, address)
    if account is None or not guess.right:
        note("sign_in_failed", account.id if account else None, client.network)
        raise BadCredentials("no account has this address and this password")
    if stronger_hash:
        await _strengthen(account, stronger_hash, accounts)
    issued = await keeper.begin(account, client, now, Method.PASSWORD)
    cookies.set(response, issued)
    device.set(response, account.id)
    return issued.user


@router.get("/currentuser")
async def current_user(user: OptionalUser) -> WhoAmI:
    """Who the session says is asking."""
    return WhoAmI(current_user=user)


async def _strengthen(account: Account, password_hash: str, accounts: AccountStore) -> None:
    account.strengthen(password_hash)
    try:
        await accounts.save(account)
    except StaleWrite:
        return  # Another sign-in at the same moment has done it.
