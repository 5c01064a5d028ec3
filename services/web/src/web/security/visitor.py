"""Who is looking: his session, his language, his forms, and the services in his name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from common.errors import Unauthenticated
from common.http.sessions import COOKIE, Sessions, User
from common.ids import new_id
from web.clients.api import Api, Services
from web.rendering.i18n import LANGUAGES, N_, Words, choose, words_for
from web.rendering.site import Site
from web.security import csrf

LANGUAGE_COOKIE = "language"
YEAR = 365 * 24 * 3600
NOTES = {
    "listed": N_("Your item is on sale."),
    "saved": N_("Saved."),
    "withdrawn": N_("Your item is off sale."),
    "pictures": N_("The pictures are saved."),
    "replayed": N_("They are with their handlers again."),
    "discarded": N_("They are discarded; the reason is kept."),
}
"""What a page says first when `note` in its address names it: what the form before it has done."""

_LOCAL = re.compile(r"/(?![/\\])[^\x00-\x20\\]*")


@dataclass
class Visitor:
    """One request of somebody."""

    request: Request
    site: Site
    user: User | None
    words: Words
    api: Api
    visit: str | None
    _new_visit: str | None = field(default=None, init=False)

    @classmethod
    def of(cls, request: Request) -> "Visitor":
        """Who sent this request. A session that does not hold is none."""
        parts = request.app.state.parts
        token = request.cookies.get(COOKIE)
        user = _user(parts[Sessions], token)
        preferred = request.cookies.get(LANGUAGE_COOKIE)
        accepted = request.headers.get("accept-language", "")
        return cls(
            request=request,
            site=parts[Site],
            user=user,
            words=words_for(choose(accepted, preferred if preferred in LANGUAGES else None)),
            api=Api(parts[Services], token if user else None, request.client.host if request.client else None),
            visit=request.cookies.get(csrf.COOKIE),
        )

    @property
    def user_id(self) -> str | None:
        """The user's id, if somebody is signed in."""
        return self.user.id if self.user else None

    def known(self) -> User:
        """The signed-in user. Raises `Unauthenticated`: the answer is the page to sign in on."""
        if self.user is None:
            raise Unauthenticated("sign in first")
        return self.user

    def form_token(self) -> str:
        """A token for a form on this page."""
        if self.visit is None:
            self.visit = self._new_visit = csrf.new_visit()
        return self.site.csrf.token(self.visit, self.user_id)

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page in the visitor's language."""
        context |= {
            "user": self.user,
            "words": self.words,
            "path": self.request.url.path,
            "here": f"{self.request.url.path}{'?' * bool(self.request.url.query)}{self.request.url.query}",
            "origin": f"{self.request.url.scheme}://{self.request.url.netloc}",
            "form_token": self.form_token,
            "new_key": new_id,
            "note": self._note(),
            "stripe_key": self.site.stripe_key,
        }
        response = HTMLResponse(self.site.render(self.words.language, template, context), status)
        response.headers["Content-Language"] = self.words.tag
        if self._new_visit:
            response.set_cookie(csrf.COOKIE, self._new_visit, httponly=True, samesite="lax", secure=self.site.secure)
        return response

    def _note(self) -> str:
        note = self.request.query_params.get("note", "")
        return self.words.gettext(NOTES[note]) if note in NOTES else ""

    def go(self, path: str, cookies: Sequence[str] = ()) -> Response:
        """Elsewhere, after a form was accepted; `cookies` are `Set-Cookie` values of a service."""
        response = RedirectResponse(path, 303)
        for cookie in cookies:
            response.headers.append("set-cookie", cookie)
        return response


def local(path: str, otherwise: str = "/") -> str:
    """`path` if it is one of ours, so that no link can send people elsewhere."""
    return path if _LOCAL.fullmatch(path) else otherwise


def _user(sessions: Sessions, token: str | None) -> User | None:
    try:
        return sessions.user(token) if token else None
    except Unauthenticated:
        return None


async def _visitor(request: Request) -> Visitor:
    return Visitor.of(request)


Here = Annotated[Visitor, Depends(_visitor)]
