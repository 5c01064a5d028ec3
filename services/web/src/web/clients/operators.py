"""Calls auth about who is an operator."""

from pydantic import BaseModel, TypeAdapter

from web.clients.api import Api


class OperatorAccount(BaseModel):
    """Somebody who is an operator."""

    id: str
    email: str
    name: str
    has_passkey: bool


ACCOUNTS = TypeAdapter(list[OperatorAccount])


async def operators(api: Api) -> list[OperatorAccount]:
    """The operators, by name."""
    return ACCOUNTS.validate_json((await api.get("users", "operators")).content)


async def grant(api: Api, email: str) -> bool:
    """Make somebody an operator. Returns whether they were none before."""
    return (await api.send("POST", "users", "operators", json={"email": email})).status_code == 201


async def revoke(api: Api, user_id: str) -> None:
    """Take somebody's right away."""
    await api.send("DELETE", "users", "operators", user_id)
