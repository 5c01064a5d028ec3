"""The mails that came last, and the SMTP server that they come to."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, Envelope, Session

KEPT = 500
"""How many mails are kept, in memory."""

MAX_BYTES = 1024 * 1024
"""How large a mail may be."""


@dataclass(frozen=True)
class Attachment:
    """A file that came with a mail."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Received:
    """A mail as its reader sees it."""

    number: int
    at: datetime
    to: str
    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...] = ()


class Mailbox:
    """Takes every mail, whoever it is to."""

    def __init__(self) -> None:
        self._mails: deque[Received] = deque(maxlen=KEPT)
        self._count = 0

    def mails(self, to: str | None = None) -> list[Received]:
        """The mails to an address, or all; the newest first."""
        return [mail for mail in reversed(self._mails) if to is None or mail.to.lower() == to.strip().lower()]

    def find(self, number: int) -> Received | None:
        """The mail with this number."""
        return next((mail for mail in self._mails if mail.number == number), None)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - of aiosmtpd
        """A mail has come."""
        content = envelope.original_content or b""
        mail = message_from_bytes(content, EmailMessage, policy=default)
        for to in envelope.rcpt_tos:
            self._count += 1
            subject = str(mail["subject"] or "")
            text, html = _part(mail, "plain"), _part(mail, "html")
            self._mails.append(Received(self._count, datetime.now(UTC), to, subject, text, html, _files(mail)))
        return "250 OK"

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[None]:
        """Take mails on a port."""

        def protocol() -> SMTP:
            return SMTP(self, data_size_limit=MAX_BYTES, enable_SMTPUTF8=True, loop=asyncio.get_running_loop())

        server = await asyncio.get_running_loop().create_server(protocol, host, port)
        try:
            yield
        finally:
            server.close()


def _files(mail: EmailMessage) -> tuple[Attachment, ...]:
    return tuple(_file(part) for part in mail.iter_attachments())


def _file(part: EmailMessage) -> Attachment:
    content = part.get_payload(decode=True)
    return Attachment(
        part.get_filename() or "file", part.get_content_type(), content if isinstance(content, bytes) else b""
    )


def _part(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return part.get_content() if part else ""
