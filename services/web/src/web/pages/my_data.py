"""Everything that Souk knows of the visitor, to take along; and deleting their account."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from common.clock import now
from common.errors import TooMany, Unauthenticated, Unavailable
from common.http.network import network_of
from common.http.problems import problems
from common.http.sessions import CurrentSession, token_of
from common.security_log import note
from web.clients.api import Api, Refused
from web.pages.forms import Form
from web.pages.visitor import CurrentVisitor, address_of, api_of

router = APIRouter()

EXPORT = "/api/users/me/export"

PAGE = 100
"""Records that are asked for, and held in memory, at a time."""


@dataclass(frozen=True)
class Part:
    """A list in the export: a path of a service, and whether it has pages.

    One that answers with `most` records at once is asked again for those before the last one.
    """

    name: str
    path: tuple[str, ...]
    paged: bool = True
    of_seller: bool = False
    most: int | None = None

    async def page(self, api: Api, user_id: str, cursor: str | None) -> tuple[list[Any], str | None]:
        """The records of one page, and the cursor of the next."""
        if not self.paged:
            records = (await api.get(*self.path, before=cursor)).json()
            return records, records[-1]["id"] if len(records) == self.most else None
        seller_id = user_id if self.of_seller else None
        found = (await api.get(*self.path, seller_id=seller_id, limit=PAGE, cursor=cursor)).json()
        return found["items"], found["next"]


PARTS = (
    Part("sessions", ("users", "sessions"), paged=False),
    Part("passkeys", ("users", "passkeys"), paged=False),
    Part("events", ("audit", "mine"), paged=False, most=1_000),
    Part("security", ("audit", "mine", "security")),
    Part("mails", ("notifications", "mails"), paged=False, most=1_000),
    Part("items", ("items",), of_seller=True),
    Part("favourites", ("items", "favourites")),
    Part("orders", ("orders",)),
    Part("sales", ("orders", "sales")),
    Part("payments", ("payments",)),
    Part("tickets", ("tickets",), paged=False),
    Part("gates", ("tickets", "gates", "mine")),
)


@router.get(
    EXPORT,
    tags=["users"],
    responses={200: {"content": {"application/json": {}}}, **problems(Unauthenticated, Unavailable)},
)
async def export(request: Request, session: CurrentSession) -> Response:
    """Everything Souk knows of the caller, from all services: the account, and a list of each kind of record.

    It is streamed, however long it is. An answer that breaks off before the last brace is not complete.
    """
    api = api_of(request, token_of(request))
    account = (await api.get("users", "me")).json()
    codes = (await api.get("users", "recovery-codes")).json()
    firsts = [await part.page(api, session.user.id, None) for part in PARTS]  # Who cannot answer says so in time.
    note("exported", session.user.id, network_of(address) if (address := address_of(request)) else None)
    headers = {"Content-Disposition": 'attachment; filename="souk-my-data.json"', "Cache-Control": "no-store"}
    return StreamingResponse(_written(api, account, codes, firsts), media_type="application/json", headers=headers)


async def _written(
    api: Api, account: dict[str, Any], codes: dict[str, Any], firsts: list[tuple[list[Any], str | None]]
) -> AsyncIterator[str]:
    yield f'{{"exported_at": {json.dumps(now().isoformat())},\n"account": {json.dumps(account)}'
    yield f',\n"recovery_codes": {json.dumps(codes)}'
    for part, (records, cursor) in zip(PARTS, firsts, strict=True):
        yield f",\n{json.dumps(part.name)}: [" + ",\n".join(json.dumps(record) for record in records)
        while cursor:
            records, cursor = await part.page(api, account["id"], cursor)
            yield "".join(f",\n{json.dumps(record)}" for record in records)
        yield "]"
    yield "}\n"


@router.get("/my/data")
async def my_data(visitor: CurrentVisitor) -> Response:
    """What the visitor may take along, and what happens to it when they go."""
    visitor.require_user()
    return visitor.render("my_data.html", export=EXPORT, errors={}, typed={})


@router.post("/my/data/delete")
async def delete_account(visitor: CurrentVisitor, form: Form) -> Response:
    """Delete the visitor's account."""
    visitor.require_user()
    try:
        said = await visitor.api.delete_account(form.text("password"))
    except Refused as refused:
        _ = visitor.i18n.gettext
        errors = {
            "bad_credentials": {"password": _("This is not your password.")},
            "validation_failed": {"password": _("This is not your password.")},
            "has_role": {"form": _("You are an operator. Have that role taken away first.")},
            TooMany.code: {"form": _("Too many attempts. Please wait a while.")},
        }
        if refused.reason not in errors:
            raise
        return visitor.render("my_data.html", refused.status, export=EXPORT, errors=errors[refused.reason], typed={})
    answer = visitor.redirect("/?note=account_deleted", said.get_list("set-cookie"))
    answer.headers["Clear-Site-Data"] = said["clear-site-data"]
    return answer
