"""Refresh a session, see one's sessions and end them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response, status
from pydantic import BaseModel, StringConstraints

from auth.devices import Devices
from auth.sessions.client import device_of
from auth.sessions.keeper import Client, Issued, SessionKeeper
from common.errors import NotFound, Unauthenticated
from common.http.dependencies import IdempotencyKey, Now, Provided
from common.http.network import network_of
from common.http.paging import EXAMPLE_ID
from common.http.problems import problems
from common.http.sessions import (
    COOKIE,
    DEVICE_COOKIE,
    REFRESH_COOKIE,
    CurrentSession,
    OptionalSession,
    SessionOver,
    User,
    cookie_name,
)

router = APIRouter()

CLEARED_AT_SIGN_OUT = '"cache", "storage"'
"""Pages that a browser has kept. Not "cookies": that takes those of every host of the site, and the chosen language."""

DEVICE_SECONDS = 365 * 24 * 3600
"""How long the browser keeps the cookie of a device after a sign-in."""


class Cookies:
    """The two cookies of a session. Scripts cannot read them, and forms of other sites do not carry them.

    With `secure`, they are for https only.
    """

    def __init__(self, *, secure: bool) -> None:
        self.secure = secure
        self._access, self._refresh = (cookie_name(name, secure=secure) for name in (COOKIE, REFRESH_COOKIE))

    def set(self, response: Response, issued: Issued) -> None:
        """Give the browser the tokens, each for as long as it lasts."""
        for name, token, seconds in (
            (self._access, issued.access_token, issued.access_seconds),
            (self._refresh, issued.refresh_token, issued.refresh_seconds),
        ):
            if token:
                response.set_cookie(name, token, seconds, httponly=True, samesite="lax", secure=self.secure)

    def clear(self, response: Response) -> None:
        """Take both away."""
        for name in (self._access, self._refresh):
            response.delete_cookie(name, httponly=True, samesite="lax", secure=self.secure)

    def refresh_token(self, request: Request) -> str | None:
        """The refresh token of a request, if it has one."""
        return request.cookies.get(self._refresh)


async def client_address(request: Request) -> str:
    """Where the request comes from. The server has put X-Forwarded-For here, if it trusts the gateway."""
    return request.client.host if request.client else "unknown"


async def client_of(request: Request) -> Client:
    """The device that the request comes from."""
    return Client(device_of(request.headers.get("user-agent", "")), network_of(await client_address(request)))


Keeper = Annotated[SessionKeeper, Provided(SessionKeeper)]
SessionCookies = Annotated[Cookies, Provided(Cookies)]
Address = Annotated[str, Depends(client_address)]
CurrentClient = Annotated[Client, Depends(client_of)]
Id = Annotated[
    str,
    StringConstraints(max_length=64, pattern="^[0-9a-f]+$"),
    Path(description="The session's id.", examples=[EXAMPLE_ID]),
]


class DeviceCookie:
    """The cookie of one request."""

    def __init__(self, devices: Devices, kept: str | None, name: str, *, secure: bool) -> None:
        self._devices = devices
        self._kept = kept
        self._name = name
        self._secure = secure

    def device_of(self, user_id: str | None) -> str | None:
        """The device, if this user has signed in on it before."""
        return self._devices.device(self._kept, user_id) if self._kept and user_id else None

    def set(self, response: Response, user_id: str) -> None:
        """This user has signed in here."""
        value = self._devices.cookie(user_id, self._kept)
        response.set_cookie(self._name, value, DEVICE_SECONDS, httponly=True, samesite="lax", secure=self._secure)


async def device_cookie(
    request: Request, devices: Annotated[Devices, Provided(Devices)], cookies: SessionCookies
) -> DeviceCookie:
    """The cookie that a request has, or may get."""
    name = cookie_name(DEVICE_COOKIE, secure=cookies.secure)
    return DeviceCookie(devices, request.cookies.get(name), name, secure=cookies.secure)


CurrentDevice = Annotated[DeviceCookie, Depends(device_cookie)]


class SessionView(BaseModel):
    """One of the caller's sessions. `address` is a network; `last_seen` is right to ten minutes."""

    id: str
    device: str
    address: str
    created_at: datetime
    last_seen: datetime
    current: bool


@router.post("/refresh", openapi_extra={"security": [{"refresh": []}]}, responses=problems(SessionOver))
async def refresh(
    request: Request,
    response: Response,
    keeper: Keeper,
    cookies: SessionCookies,
    client: CurrentClient,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> User:
    """Exchange the refresh token in the cookie for new tokens, in cookies.

    Each refresh token can be exchanged once. One that comes again ends the session, because somebody else may have it.
    With an Idempotency-Key the same call gets the same answer again for 30 seconds.
    """
    token = cookies.refresh_token(request)
    if token is None:
        raise SessionOver("there is no session to refresh; sign in")
    issued = await keeper.refresh(token, idempotency_key, client, now)
    cookies.set(response, issued)
    return issued.user


@router.post("/signout", status_code=status.HTTP_204_NO_CONTENT)
async def sign_out(
    request: Request,
    response: Response,
    keeper: Keeper,
    cookies: SessionCookies,
    session: OptionalSession,
    now: Now,
) -> None:
    """End the session, if there is one, and clear its cookies."""
    await keeper.sign_out(session.id if session else None, cookies.refresh_token(request), now)
    cookies.clear(response)
    response.headers["Clear-Site-Data"] = CLEARED_AT_SIGN_OUT


@router.get("/sessions", responses=problems(Unauthenticated))
async def list_sessions(keeper: Keeper, session: CurrentSession, now: Now) -> list[SessionView]:
    """The caller's sessions, the one seen last first, at most 100."""
    return [
        SessionView(**one.model_dump(include=set(SessionView.model_fields)), current=one.id == session.id)
        for one in await keeper.running(session.user.id, now)
    ]


@router.delete("/sessions", status_code=status.HTTP_204_NO_CONTENT, responses=problems(Unauthenticated))
async def end_other_sessions(keeper: Keeper, session: CurrentSession, now: Now) -> None:
    """End all of the caller's sessions but this one."""
    await keeper.end_others(session.user.id, session.id, now)


@router.delete(
    "/sessions/{session_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(Unauthenticated, NotFound),
)
async def end_session(session_id: Id, keeper: Keeper, session: CurrentSession, now: Now) -> None:
    """End one of the caller's sessions. Ending it twice is no error."""
    await keeper.end(session.user.id, session_id, now)
