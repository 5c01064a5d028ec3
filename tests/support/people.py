"""People who use a stack: signed-in HTTP clients at its gateway."""

import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

import httpx

from common.http.sessions import User
from infra.local.stack.keys import Keys
from tests.support.sessions import Tokens, person

TRUST = ssl.create_default_context()
"""Shared, because making a context takes as long as a dozen requests."""


@dataclass(frozen=True)
class Person:
    """Somebody at the gateway, signed in."""

    user: User
    http: httpx.AsyncClient


class Place(Protocol):
    """A running Souk: the stack of a laptop, or a cluster."""

    keys: Keys

    @property
    def url(self) -> str:
        """The address of its gateway."""


class People:
    """Makes people who use a stack. Their connections are closed at the end of the test."""

    def __init__(self, stack: Place, exits: AsyncExitStack) -> None:
        self._tokens = Tokens(stack.keys.private_key)
        self._stack = stack
        self._exits = exits

    async def anybody(self) -> httpx.AsyncClient:
        """Return a client that is not signed in."""
        return await self._exits.enter_async_context(
            httpx.AsyncClient(base_url=self._stack.url, timeout=30, verify=TRUST)
        )

    async def new(self, name: str = "Ada", *roles: str) -> Person:
        """Return somebody with a session who has not signed up: hashing 200 passwords takes 40 seconds."""
        user, http = person(name, *roles), await self.anybody()
        http.headers.update(self._tokens.headers(user))
        return Person(user, http)

    async def signed_up(self, name: str = "Ada", headers: Mapping[str, str] | None = None) -> Person:
        """Return somebody who has signed up at auth and has its cookie."""
        user, http = person(name), await self.anybody()
        answer = await http.post(
            "/api/users/signup", json={"email": user.email, "password": "correct horse", "name": name}, headers=headers
        )
        assert answer.status_code == 201, answer.text
        return Person(User(**answer.json()), http)
