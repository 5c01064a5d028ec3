"""Operators see who is one, make others operators, and end that."""

from typing import Annotated

from fastapi import APIRouter, Path, Response, status
from pydantic import BaseModel, StringConstraints

from auth.domain import LastOperator, PersonHasNoPasskey, PersonNotFound, PersonNotVerified
from auth.fields import Email
from auth.operators.operators import Appointed, Operators
from auth.sessions.routes import Address
from common.errors import Unavailable
from common.http.dependencies import Now, Provided
from common.http.paging import EXAMPLE_ID, Body
from common.http.problems import problems
from common.http.sessions import Operator, ProvedOperator

router = APIRouter(prefix="/operators")

UserId = Annotated[
    str,
    StringConstraints(max_length=64, pattern="^[0-9a-f]+$"),
    Path(description="The person's id.", examples=[EXAMPLE_ID]),
]
TheOperators = Annotated[Operators, Provided(Operators)]


class OperatorView(BaseModel):
    """Somebody who is an operator."""

    id: str
    email: str
    name: str
    has_passkey: bool

    @classmethod
    def of(cls, one: Appointed) -> "OperatorView":
        """What operators see of each other."""
        return cls(id=one.account.id, email=one.account.email, name=one.account.name, has_passkey=one.has_passkey)


class NewOperator(Body):
    """Who is to be an operator."""

    email: Email


@router.get("")
async def list_operators(_user: Operator, operators: TheOperators) -> list[OperatorView]:
    """Who is an operator, by name."""
    return [OperatorView.of(one) for one in await operators.all()]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={
        **problems(PersonNotFound, PersonNotVerified, PersonHasNoPasskey, Unavailable),
        status.HTTP_200_OK: {"model": OperatorView, "description": "They are an operator already"},
    },
)
async def grant_operator(
    body: NewOperator, user: ProvedOperator, operators: TheOperators, address: Address, response: Response, now: Now
) -> OperatorView:
    """Make somebody an operator, who is told by mail. Needs a fresh proof by passkey of who has one.

    Where `ENV` is `prod`, the person has to have a passkey and a confirmed address.
    """
    appointed, changed = await operators.grant(user, body.email, address, now)
    if not changed:
        response.status_code = status.HTTP_200_OK
    return OperatorView.of(appointed)


@router.delete(
    "/{user_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(PersonNotFound, LastOperator, Unavailable),
)
async def revoke_operator(
    user_id: UserId, user: ProvedOperator, operators: TheOperators, address: Address, now: Now
) -> None:
    """Take somebody's right away, who is told by mail: it is refused everywhere within two seconds.

    An operator may end their own, unless nobody else is one. Needs a fresh proof by passkey of who has one.
    """
    await operators.revoke(user, user_id, address, now)
