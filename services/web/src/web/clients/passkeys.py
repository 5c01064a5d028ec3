"""Calls auth about passkeys and recovery codes. Credentials and options are in WebAuthn's JSON form."""

import json
from typing import Any

import httpx

from common.http.sessions import CEREMONY_COOKIE, cookie_name
from web.clients.api import Api, Refused
from web.clients.models import PASSKEYS, Passkey

LONGEST_CREDENTIAL = 40_000
"""Characters of a credential."""


async def passkeys(api: Api) -> list[Passkey]:
    """The visitor's passkeys, the oldest first."""
    return PASSKEYS.validate_json((await api.get("users", "passkeys")).content)


async def codes_left(api: Api) -> int:
    """How many recovery codes the visitor has left."""
    return int((await api.get("users", "recovery-codes")).json()["left"])


async def new_codes(api: Api) -> list[str]:
    """New recovery codes, in place of all older ones."""
    return list((await api.send("POST", "users", "recovery-codes")).json()["codes"])


async def creation_options(api: Api) -> Any:
    """What a browser needs to make a passkey."""
    return (await api.send("POST", "users", "passkeys", "options")).json()


async def add(api: Api, credential: str, name: str) -> list[str]:
    """Add a passkey that a browser has made. Returns the cookies to set."""
    body = {"credential": _parsed(credential), "name": name}
    return _cookies(await api.send("POST", "users", "passkeys", json=body))


async def rename(api: Api, passkey_id: str, name: str) -> None:
    """Give a passkey another name."""
    await api.send("PATCH", "users", "passkeys", passkey_id, json={"name": name})


async def remove(api: Api, passkey_id: str) -> list[str]:
    """Remove a passkey. Returns the cookies to set."""
    return _cookies(await api.send("DELETE", "users", "passkeys", passkey_id))


async def proof_options(api: Api) -> Any:
    """What a browser needs to prove with one of the visitor's passkeys."""
    return (await api.send("POST", "users", "passkeys", "prove", "options")).json()


async def prove(api: Api, credential: str) -> list[str]:
    """Prove with a passkey whose session it is. Returns the cookies to set."""
    body = {"credential": _parsed(credential)}
    return _cookies(await api.send("POST", "users", "passkeys", "prove", json=body))


async def prove_by_password(api: Api, password: str) -> list[str]:
    """Prove it with the password. Returns the cookies to set."""
    return _cookies(await api.send("POST", "users", "password", "prove", json={"password": password}))


async def sign_in(api: Api, credential: str, ceremony: str, *, secure: bool) -> list[str]:
    """Start a session with a passkey. `ceremony` is the browser's cookie. Returns the cookies to set."""
    headers = {"Cookie": f"{cookie_name(CEREMONY_COOKIE, secure=secure)}={ceremony}"}
    body = {"credential": _parsed(credential)}
    return _cookies(await api.send("POST", "users", "passkeys", "signin", json=body, headers=headers))


async def sign_in_by_code(api: Api, email: str, code: str) -> list[str]:
    """Start a session with a recovery code. Returns the cookies to set."""
    return _cookies(await api.send("POST", "users", "recovery-codes", "signin", json={"email": email, "code": code}))


def _parsed(credential: str) -> Any:
    """What a script has put into a form, as auth takes it."""
    try:
        return json.loads(credential[:LONGEST_CREDENTIAL])
    except ValueError:
        raise Refused(422, "passkey_invalid", "this is no credential", frozenset({"credential"}), {}) from None


def _cookies(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list("set-cookie")
