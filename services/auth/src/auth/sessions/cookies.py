"""The two cookies of a session. Scripts cannot read them, and forms of other sites do not carry them."""

from fastapi import Request, Response

from auth.sessions.keeper import Issued
from common.http.sessions import COOKIE, REFRESH_COOKIE, cookie_name


class Cookies:
    """Sets, reads and clears the cookies. With `secure`, they are for https only."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._access, self._refresh = (cookie_name(name, secure=secure) for name in (COOKIE, REFRESH_COOKIE))

    def set(self, response: Response, issued: Issued) -> None:
        """Give the browser both tokens, each for as long as it lasts."""
        for name, token, seconds in (
            (self._access, issued.access_token, issued.access_seconds),
            (self._refresh, issued.refresh_token, issued.refresh_seconds),
        ):
            response.set_cookie(name, token, seconds, httponly=True, samesite="lax", secure=self._secure)

    def clear(self, response: Response) -> None:
        """Take both away."""
        for name in (self._access, self._refresh):
            response.delete_cookie(name, httponly=True, samesite="lax", secure=self._secure)

    def refresh_token(self, request: Request) -> str | None:
        """The refresh token of a request, if it has one."""
        return request.cookies.get(self._refresh)
