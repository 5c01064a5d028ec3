"""Sign up, sign in, and who am I."""

from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from fastapi import APIRouter, Depends, Response, status
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from auth.domain import Account, BadCredentials, EmailTaken
from auth.passwords import Passwords
from auth.sessions import routes as sessions
from auth.sessions.routes import CurrentClient, Keeper, SessionCookies, client_address
from auth.store import AccountStore
from auth.throttle import Throttle
from common.errors import StaleWrite, TooMany, Unavailable
from common.http.dependencies import Now, Provided
from common.http.paging import Body
from common.http.problems import problems
from common.http.sessions import OptionalUser, User
from common.text import LINE

router = APIRouter(prefix="/api/users", tags=["users"])
router.include_router(sessions.router)


def _normal(email: str) -> str:
    try:
        # The test environment allows .test, Souk's own names on a laptop; nothing here sends mail.
        return validate_email(email, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


Email = Annotated[str, Field(max_length=254, json_schema_extra={"format": "email"}), AfterValidator(_normal)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), LINE]
NewPassword = Annotated[str, StringConstraints(min_length=8, max_length=128, strip_whitespace=False)]
AnyPassword = Annotated[str, StringConstraints(max_length=128, strip_whitespace=False)]

Address = Annotated[str, Depends(client_address)]
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


class WhoAmI(BaseModel):
    """The caller, or null."""

    current_user: User | None


@router.post("/signup", status_code=status.HTTP_201_CREATED, responses=problems(EmailTaken, TooMany, Unavailable))
async def sign_up(
    body: SignUp,
    address: Address,
    response: Response,
    accounts: Accounts,
    passwords: Hashing,
    keeper: Keeper,
    cookies: SessionCookies,
    client: CurrentClient,
    throttle: Limits,
    now: Now,
) -> User:
    """Open an account and a session."""
    await throttle.count_signup(address)
    password_hash = await passwords.hash(body.password, address)
    account = Account.register(email=body.email, name=body.name, password_hash=password_hash)
    await accounts.save(account)
    issued = await keeper.begin(account, client, now)
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
    now: Now,
) -> User:
    """Open a session. An unknown address takes as long, and answers the same, as a wrong password."""
    async with throttle.guess(address, body.email) as guess:
        account = await accounts.find(body.email)
        kept = account.password_hash if account else None
        guess.right, stronger_hash = await passwords.verify(body.password, kept, address)
    if account is None or not guess.right:
        raise BadCredentials("no account has this address and this password")
    if stronger_hash:
        await _strengthen(account, stronger_hash, accounts)
    issued = await keeper.begin(account, client, now)
    cookies.set(response, issued)
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
