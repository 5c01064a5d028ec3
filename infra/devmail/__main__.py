"""`python -m infra.devmail`: take mails on SMTP_PORT, and show them on PORT under /dev/mail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, SecretStr

from common.errors import NotFound
from common.http.app import Running, create_app, serve
from common.http.dependencies import Provided
from common.settings import Settings, load
from infra.devmail.mailbox import Mailbox

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'self'; form-action 'none'"
"""The page, and the mails in it, load nothing and run nothing."""

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


class MailboxSettings(Settings):
    """Where mails arrive; the bus is not needed."""

    nats_url: SecretStr = SecretStr("")
    smtp_port: int


class File(BaseModel):
    """A file that came with a mail."""

    name: str
    kind: str


class Message(BaseModel):
    """A mail that has arrived."""

    to: str
    subject: str
    text: str
    html: str
    at: datetime
    attachments: list[File] = []


class Messages(BaseModel):
    """Mails, the newest first."""

    messages: list[Message]


router = APIRouter(prefix="/dev")

Box = Annotated[Mailbox, Provided(Mailbox)]


@router.get("/mail")
async def page(box: Box, to: str | None = None) -> Response:
    """All mails."""
    return _page(box, to, None)


@router.get("/mail/{number}")
async def mail_page(number: int, box: Box) -> Response:
    """One mail, beside the others."""
    return _page(box, None, number)


@router.get("/mail/{number}/attachments/{position}")
async def attachment(number: int, position: int, box: Box) -> Response:
    """A file that came with a mail, to download: nothing in it is shown or run."""
    mail = box.find(number)
    if mail is None or not 0 <= position < len(mail.attachments):
        raise NotFound("there is no such file here any more")
    file = mail.attachments[position]
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name)}", "Cache-Control": "no-store"}
    return Response(file.content, media_type=file.kind, headers=headers)


@router.get("/mail.json")
async def mails(box: Box, to: Annotated[str | None, Query(max_length=254)] = None) -> Messages:
    """The mails to an address, or all; the newest first."""
    return Messages(messages=[Message.model_validate(mail, from_attributes=True) for mail in box.mails(to)])


def _page(box: Mailbox, to: str | None, number: int | None) -> Response:
    opened = box.find(number) if number is not None else None
    if number is not None and opened is None:
        raise NotFound("there is no such mail here any more")
    html = _environment.get_template("page.html").render(mails=box.mails(to), opened=opened)
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """The mailbox, for the life of the process."""
    settings, box = load(MailboxSettings), Mailbox()
    async with box.listening(settings.host, settings.smtp_port):
        yield Running([box], {})


app = create_app("mailbox", router, start)

if __name__ == "__main__":
    serve(app, MailboxSettings, "mailbox")
