"""A real SMTP server that answers as a test tells it to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, Envelope, Session

LOST = "lost"
"""The mail is taken, and the connection ends before the answer."""


class Receiver:
    """Takes mails. `answers` are those to the next mails; then it takes every one. `refused` recipients get a 550."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.taken: list[EmailMessage] = []
        self.answers: list[str] = []
        self.refused: set[str] = set()
        self.asked = 0

    async def handle_RCPT(  # noqa: N802 - of aiosmtpd
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 nobody is there"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer == LOST or answer.startswith("250"):
            self.taken.append(message_from_bytes(envelope.original_content or b"", EmailMessage, policy=default))
        if answer == LOST and isinstance(server.transport, asyncio.Transport):
            server.transport.abort()
        return answer

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Be there, on the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(self, loop=loop), "127.0.0.1", self.port)
        try:
            yield
        finally:
            server.close()


def text_of(mail: EmailMessage) -> str:
    """The plain text of a mail."""
    part = mail.get_body(("plain",))
    assert part
    return str(part.get_content())
