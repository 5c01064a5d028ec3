"""Simulated people at the gateway. Whatever they do goes into the history."""

import asyncio
import random
import ssl
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import httpx

from common.http.sessions import REFRESH_COOKIE
from tests.chaos.history import History, Json, Operation

TRUST = ssl.create_default_context()
"""Shared: a client of its own context takes as long as a dozen requests."""

ANSWER_TIMEOUT = 8.0
"""Seconds that a client waits for an answer."""

SIGN_IN_TIMEOUT = 30.0
"""The same for sign-up and sign-in: hashing a password is slow, and every repetition makes it slower."""

TRIES = 12
PAUSES = (0.3, 1.0)
"""Seconds before a request without an answer is repeated, at least and at most."""

KEPT = ("id", "order_id", "status", "version", "quantity", "available", "dispute")
"""The fields of each row of a list that go into the history."""

PASSWORD = "correct horse"


REFRESH_AFTER = 240.0
"""Seconds after which a person refreshes the session: its access token lasts ten minutes."""


class NotSignedUp(RuntimeError):
    """Sign-up got no answer for a long time: a fault, or a machine that is too busy for a run."""


class Person:
    """Somebody with an HTTP client; `chance` decides what they do."""

    def __init__(self, url: str, history: History, name: str, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self.history = history
        self.id = ""
        self.email = ""
        self._keys = 0
        self._refreshing = asyncio.Lock()
        self.signed_in = asyncio.Lock()
        """Held by whoever acts for this person beside them: meanwhile they do not sign out."""
        self._refreshed = time.monotonic()
        self._http = httpx.AsyncClient(base_url=url, verify=TRUST)

    async def leave(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def new_key(self) -> str:
        """Return an Idempotency-Key that was not used before."""
        self._keys += 1
        return f"{self.name}-{self._keys}"

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        about: Json | None = None,
        *,
        body: Json | None = None,
        params: Mapping[str, str | int] | None = None,
        key: str | None = None,
    ) -> Operation:
        """Send a request once and record its answer."""
        if not kind.startswith("sign"):
            await self._keep_session()
        sent = time.time()
        status: int | None = None
        content: Any = None
        retry_after = None
        try:
            headers = {"Idempotency-Key": key} if key else None
            timeout = SIGN_IN_TIMEOUT if kind.startswith("sign") else ANSWER_TIMEOUT
            answer = await self._http.request(method, path, json=body, params=params, headers=headers, timeout=timeout)
            # A service's answer has an id. The gateway itself answers everything with 404 while it starts.
            from_souk = "x-request-id" in answer.headers or answer.status_code >= 500
            retry_after = answer.headers.get("retry-after")
            status, content = answer.status_code if from_souk else None, _read(answer)
        except httpx.TransportError as error:
            content = repr(error)
        about = {**(about or {}), **(body or {})}
        return self.history.add(
            who=self.id,
            kind=kind,
            about=about,
            key=key,
            sent=sent,
            status=status,
            body=content,
            retry_after=retry_after,
        )

    async def insist(
        self, kind: str, method: str, path: str, about: Json | None = None, *, body: Json | None = None, key: str = ""
    ) -> Operation:
        """Repeat a request under one key until the answer says what was done, at most `TRIES` times more."""
        operation = await self.ask(kind, method, path, about, body=body, key=key or None)
        for _ in range(TRIES):
            if operation.known:
                break
            await asyncio.sleep(self.chance.uniform(*PAUSES))
            operation = await self.ask(kind, method, path, about, body=body, key=key or None)
        return operation

    async def sign_up(self) -> None:
        """Become a new user. If an attempt without an answer has taken the address, sign in.

        Raises `NotSignedUp`; the person is then the same user as before.
        """
        self._refreshed, before = time.monotonic(), self.email
        self.email = f"{self.name.lower()}-{self.chance.randrange(10**9)}@souk.test"
        body = {"email": self.email, "password": PASSWORD, "name": self.name}
        if (answer := await self.insist("sign up", "POST", "/api/users/signup", body=body)).status == 409:
            answer = await self.sign_in()
        if answer.status not in {200, 201}:
            self.email = before
            raise NotSignedUp(f"{self.name} was answered with {answer.outcome} after {TRIES} tries")
        self.id = answer.body["id"]
        self.history.people[self.id] = self.email

    async def sign_in(self) -> Operation:
        """Start a session."""
        self._refreshed = time.monotonic()
        return await self.insist(
            "sign in", "POST", "/api/users/signin", body={"email": self.email, "password": PASSWORD}
        )

    async def mails(self) -> str:
        """The mails to the person, as text."""
        try:
            answer = await self._http.get("/dev/mail.json", params={"to": self.email}, timeout=ANSWER_TIMEOUT)
        except httpx.TransportError:
            return ""
        return answer.text

    async def _keep_session(self) -> None:
        """Refresh the session in time. If an answer was lost for too long, that has ended it: sign in again."""
        async with self._refreshing:
            token = self._http.cookies.get(REFRESH_COOKIE)
            if token is None or time.monotonic() < self._refreshed + REFRESH_AFTER:
                return
            key = {"Idempotency-Key": sha256(token.encode()).hexdigest()}
            try:
                answer = await self._http.post("/api/users/refresh", headers=key, timeout=ANSWER_TIMEOUT)
            except httpx.TransportError:
                return  # The next request tries again.
            if answer.status_code == 200:
                self._refreshed = time.monotonic()
            elif answer.status_code == 401:
                await self.sign_in()

    async def sign_out_and_in(self) -> None:
        """End the session and start another."""
        async with self.signed_in:
            await self.insist("sign out", "POST", "/api/users/signout")
            await self.ask("who am i", "GET", "/api/users/currentuser")
            await self.sign_in()
        await self.ask("who am i", "GET", "/api/users/currentuser")


def _read(answer: httpx.Response) -> Any:
    if not answer.content or "json" not in answer.headers.get("content-type", ""):
        return answer.text[:200]
    body = answer.json()
    if isinstance(body, dict) and "items" in body:
        return {"items": [{name: row[name] for name in KEPT if name in row} for row in body["items"]]}
    return body
