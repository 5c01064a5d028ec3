"""What auth knows of the caller, and deleting their account."""

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Response, status
from pydantic import BaseModel

from auth.domain import Account, BadCredentials, HasRole
from auth.erasure.erasure import Erasure
from auth.fields import AnyPassword
from auth.recovery.recovery import Recovery
from auth.sessions.routes import CLEARED_AT_SIGN_OUT, Address, SessionCookies
from auth.store import AccountStore
from common.errors import TooMany, Unauthenticated, Unavailable
from common.http.dependencies import Now, Provided
from common.http.paging import Body
from common.http.problems import problems
from common.http.sessions import CurrentSession, CurrentUser
from common.ids import minted_at

router = APIRouter(prefix="/me")


class Mine(BaseModel):
    """The caller's account. `language` is that of their mails."""

    id: str
    email: str
    name: str
    roles: tuple[str, ...]
    language: str
    verified: bool
    created_at: datetime

    @classmethod
    def of(cls, account: Account) -> Self:
        """The account without its secrets."""
        known = account.model_dump(include=set(cls.model_fields))
        return cls(**known, created_at=datetime.fromtimestamp(minted_at(account.id), UTC))


class Password(Body):
    """The caller's password: so nobody else at their desk deletes the account."""

    password: AnyPassword


@router.get("", responses=problems(Unauthenticated))
async def my_account(user: CurrentUser, accounts: Annotated[AccountStore, Provided(AccountStore)]) -> Mine:
    """What auth keeps of the caller, besides their sessions."""
    if account := await accounts.get(user.id):
        return Mine.of(account)
    raise Unauthenticated("this account is not there")


@router.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(BadCredentials, HasRole, TooMany, Unavailable),
)
async def delete_my_account(
    body: Password,
    session: CurrentSession,
    address: Address,
    response: Response,
    cookies: SessionCookies,
    erasure: Annotated[Erasure, Provided(Erasure)],
    recovery: Annotated[Recovery, Provided(Recovery)],
    now: Now,
) -> None:
    """Delete the caller's account. This cannot be undone.

    Name, address, password and sessions go at once; within seconds holds are cancelled, items withdrawn, and the name
    goes from all other services. Orders and payments stay, under the id alone.
    """
    await erasure.erase(await recovery.proved(session, body.password, address), now)
    cookies.clear(response)
    response.headers["Clear-Site-Data"] = CLEARED_AT_SIGN_OUT
