"""The HTTP API of a running Souk, for commands that act as its users."""

import asyncio
from typing import Any, NamedTuple

import httpx

Json = dict[str, Any]

_AT_ONCE = 8


class Refused(RuntimeError):
    """Souk did not do what was asked. `status` is that of its answer, or None where no answer was a refusal."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class SignedIn(NamedTuple):
    """Somebody with a session."""

    session: str
    id: str
    roles: list[str]
    verified: bool


class Api:
    """Sends requests through the gateway, a few at a time."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def send(self, method: str, path: str, session: str = "", **request: Any) -> Json:
        """Return the body of a successful answer. Raises `Refused`. `session` is the caller's token."""
        headers = request.pop("headers", {}) | ({"Authorization": f"Bearer {session}"} if session else {})
        async with self._places:
            return body_of(await self._client.request(method, path, headers=headers, **request))

    async def sign_in(self, name: str, email: str, password: str) -> SignedIn:
        """Open a session, and before that the account if there is none. Raises `Refused`."""
        account = {"email": email, "password": password}
        async with self._places:
            answer = await self._client.post("/api/users/signup", json={**account, "name": name})
            if answer.status_code == httpx.codes.CONFLICT:
                answer = await self._client.post("/api/users/signin", json=account)
        user = body_of(answer)
        self._client.cookies.clear()  # Every request names its own session.
        return SignedIn(answer.cookies["session"], user["id"], user["roles"], user["verified"])

    async def all_of(self, path: str, session: str = "", **query: str) -> list[Json]:
        """Return everything on all pages of a list."""
        page = await self.send("GET", path, session, params={**query, "limit": 100})
        found: list[Json] = page["items"]
        while cursor := page["next"]:
            page = await self.send("GET", path, session, params={**query, "limit": 100, "cursor": cursor})
            found += page["items"]
        return found


def body_of(answer: httpx.Response) -> Json:
    """Return the body of a successful answer, which may be empty. Raises `Refused`."""
    if not answer.is_success:
        request, status = answer.request, answer.status_code
        raise Refused(f"{request.method} {request.url} answered {status}: {answer.text}", status)
    return dict(answer.json()) if answer.content else {}
