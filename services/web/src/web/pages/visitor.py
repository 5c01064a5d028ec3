"""Who sent a request: their session, their language, their forms, and the services on their behalf."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from common.errors import Unauthenticated, Unavailable
from common.http.sessions import REFRESH_COOKIE, Session, Sessions, User, cookie_name
from common.ids import new_id
from web.clients.api import Api, Services
from web.rendering.i18n import N_, I18n, choose_locale, i18n_for
from web.rendering.templates import Templates
from web.security.csrf import VISIT_COOKIE, Csrf, Purpose, new_visit
from web.settings import WebSettings

LANGUAGE_COOKIE = "language"
THEME_COOKIE = "theme"
THEMES = {"auto": N_("As on your device"), "light": N_("Light"), "dark": N_("Dark")}
"""The colours that a visitor can choose."""

UNKNOWN = "session_unknown"
"""Set in the state of a request whose session could not be refreshed."""

NOTES = {
    "check_mail": N_("We have sent you a mail. Open the link in it."),
    "verified": N_("Your address is confirmed."),
    "email_changed": N_("Your new address is confirmed."),
    "email_restored": N_("Your address is back. We have sent you a link to a new password."),
    "password_changed": N_("You have a new password."),
    "account_deleted": N_("Your account is deleted. Goodbye."),
    "session_ended": N_("The session has ended."),
    "sessions_ended": N_("All other sessions have ended."),
    "passkey_added": N_("Your passkey is added. From now on it signs you in."),
    "passkey_removed": N_("The passkey is removed. Delete it on your device as well."),
    "passkey_needed": N_("Operators need a passkey. Add one here, then go on."),
    "accepted_ticket": N_("The ticket is yours."),
    "listed": N_("Your item is on sale."),
    "saved": N_("Saved."),
    "accepted": N_("We have your change. It takes effect in a moment."),
    "withdrawn": N_("Your item is off sale."),
    "drafted": N_("Your draft is saved. Only you can see it."),
    "paused": N_("Your item is paused: everybody sees it, and nobody can order it."),
    "resumed": N_("Your item is on sale again."),
    "pictures": N_("The pictures are saved."),
    "too_many_favourites": N_("You have saved as many things as one can. Let one of them go first."),
    "replayed": N_("The messages are with their handlers again."),
    "refund_retried": N_("The refund is tried again."),
    "refund_settled": N_("The refund is settled. Your name and the reason are kept."),
    "refund_asked": N_("The refund is under way."),
    "order_cancelled": N_("The order is cancelled."),
    "message_sent": N_("Your message is on its way."),
    "operator_made": N_("This person is an operator now, and is told by mail."),
    "operator_known": N_("This person is an operator already."),
    "operator_ended": N_("The right is taken away, everywhere within two seconds."),
    "discarded": N_("The messages are discarded. The reason is kept."),
}
"""What a page says at its top, by the `note` in its address: what the form before it did."""

LONGEST_AGENT = 500
"""Characters of a User-Agent that services are told."""

_TOKEN = re.compile(r"[\w-]{1,200}", re.ASCII)
_LOCAL = re.compile(r"/(?![/\\])[^\x00-\x20\\]*")


@dataclass
class Visitor:
    """The sender of one request, signed in or not."""

    request: Request
    settings: WebSettings
    session: Session | None
    i18n: I18n
    api: Api
    visit: str | None
    _new_visit: str | None = field(default=None, init=False)

    @classmethod
    def of(cls, request: Request) -> "Visitor":
        """The sender of this request. An invalid session counts as none."""
        parts = request.app.state.parts
        sessions: Sessions = parts[Sessions]
        token = request.cookies.get(sessions.cookie)
        session = _session(sessions, token)
        settings: WebSettings = parts[WebSettings]
        locale = choose_locale(request.headers.get("accept-language", ""), _kept(request, settings, LANGUAGE_COOKIE))
        return cls(
            request=request,
            settings=settings,
            session=session,
            i18n=i18n_for(locale),
            api=api_of(request, token if session else None),
            visit=_kept(request, settings, VISIT_COOKIE),
        )

    @property
    def address(self) -> str | None:
        """Their IP address."""
        return address_of(self.request)

    @property
    def user(self) -> User | None:
        """The signed-in user, if there is one."""
        return self.session.user if self.session else None

    @property
    def user_id(self) -> str | None:
        """The id of the signed-in user, if there is one."""
        return self.user.id if self.user else None

    def require_user(self) -> User:
        """The signed-in user. Raises `Unauthenticated`, which is answered with the sign-in page, or `Unavailable`."""
        self.require_known()
        if self.user is None:
            raise Unauthenticated("sign in first")
        return self.user

    def require_known(self) -> None:
        """Raise `Unavailable` if their session had to be refreshed, and auth did not answer: nobody knows who it is."""
        if self.session is None and getattr(self.request.state, UNKNOWN, False):
            raise Unavailable("sign-in is away for a moment")

    def form_token(self) -> str:
        """A token for a form on this page."""
        if self.visit is None:
            self.visit = self._new_visit = new_visit()
        return self._csrf.token(self.visit, self.user_id)

    def seal(self, purpose: Purpose, words: Sequence[str]) -> str:
        """`words` for the address of a page, which no link of somebody else's can make."""
        return self._csrf.seal(self.visit or "", purpose, words)

    def unseal(self, purpose: Purpose, sealed: str) -> list[str] | None:
        """What `seal` was given for this visitor and this purpose. None for anything else."""
        return self._csrf.unseal(self.visit, purpose, sealed) if self.visit and sealed else None

    @property
    def _csrf(self) -> Csrf:
        return self.request.app.state.parts[Csrf]  # type: ignore[no-any-return]

    def render(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page in the visitor's language."""
        templates: Templates = self.request.app.state.parts[Templates]
        response = HTMLResponse(templates.render(self.i18n, template, self._context() | context), status)
        response.headers["Content-Language"] = self.i18n.tag
        if self._new_visit:
            self.keep(response, VISIT_COOKIE, self._new_visit)
        return response

    def keep(self, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        """Have the browser bring a value back, until it is closed or for so many seconds."""
        secure = self.settings.cookie_secure
        name = cookie_name(name, secure=secure)
        response.set_cookie(name, value, seconds, httponly=True, samesite="lax", secure=secure)

    def redirect(self, path: str, cookies: Sequence[str] = ()) -> Response:
        """Send the browser to `path` with GET (303). `cookies` are `Set-Cookie` values that a service has answered."""
        response = RedirectResponse(path, 303)
        for cookie in cookies:
            response.headers.append("set-cookie", cookie)
        return response

    @property
    def here(self) -> str:
        """The path and query of the request."""
        url = self.request.url
        return f"{url.path}?{url.query}" if url.query else url.path

    @property
    def theme(self) -> str:
        """The colours that they have chosen: `light`, `dark`, or `auto` for those of their system."""
        chosen = _kept(self.request, self.settings, THEME_COOKIE)
        return chosen if chosen in THEMES else "auto"

    @property
    def origin(self) -> str:
        """The scheme, host and port that the visitor sees."""
        url = self.request.url
        return f"{url.scheme}://{url.netloc}"

    def _context(self) -> dict[str, Any]:
        """What every template may use."""
        note = self.request.query_params.get("note")
        return {
            "user": self.user,
            "path": self.request.url.path,
            "here": self.here,
            "origin": self.origin,
            "theme": self.theme,
            "themes": THEMES,
            "form_token": self.form_token,
            "new_key": new_id,
            "note": self.i18n.gettext(NOTES[note]) if note in NOTES else "",
            "stripe_key": self.settings.stripe_publishable_key,
        }


def local(path: str, otherwise: str = "/") -> str:
    """`path` if it is on this site, else `otherwise`: no link can send people to another site."""
    return path if _LOCAL.fullmatch(path) else otherwise


def api_of(request: Request, token: str | None = None) -> Api:
    """The services, on behalf of the sender of this request, with an access token if they have one."""
    agent = "".join(c for c in request.headers.get("user-agent", "")[:LONGEST_AGENT] if " " <= c <= "~").strip()
    return Api(request.app.state.parts[Services], token, address_of(request), agent)


def address_of(request: Request) -> str | None:
    """The IP address of the sender. The server has put X-Forwarded-For here, if it trusts the gateway."""
    return request.client.host if request.client else None


def refresh_token_of(request: Request) -> str | None:
    """The refresh token of the sender, if they have one."""
    name = cookie_name(REFRESH_COOKIE, secure=request.app.state.parts[WebSettings].cookie_secure)
    token = request.cookies.get(name, "")
    return token if _TOKEN.fullmatch(token) else None


def _kept(request: Request, settings: WebSettings, name: str) -> str | None:
    return request.cookies.get(cookie_name(name, secure=settings.cookie_secure))


def _session(sessions: Sessions, token: str | None) -> Session | None:
    try:
        return sessions.session(token) if token else None
    except Unauthenticated:
        return None


async def _visitor(request: Request) -> Visitor:
    return Visitor.of(request)


CurrentVisitor = Annotated[Visitor, Depends(_visitor)]
