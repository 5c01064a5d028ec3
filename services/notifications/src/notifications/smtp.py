"""Hands a mail to the SMTP server that the settings name."""

import asyncio
import re
from email.message import EmailMessage
from functools import partial
from urllib.parse import unquote, urlsplit

import aiosmtplib
from pydantic import SecretStr

SCHEMES = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
"""Without TLS, with STARTTLS, with TLS from the first byte; and their default ports."""

COMMAND_SECONDS = 15.0
"""How long one step may take."""

SEND_SECONDS = 45.0
"""How long all of them may take."""

PERMANENT = 500
"""The first reply code that will not change when the mail is sent again."""


ADDRESS = re.compile(r"\S*@\S*")
"""An address in the answer of a server, however it is spelled."""


class Rejected(Exception):
    """The server will never take this mail. The message is its answer, without addresses."""


class Deferred(Exception):
    """The server does not take this mail now. The message is its answer, without addresses: it goes into the log."""


class SmtpServer:
    """The server at `smtp://`, `smtp+starttls://` or `smtps://`, with `user:password@` where it asks for them."""

    def __init__(self, url: SecretStr) -> None:
        parts = urlsplit(url.get_secret_value())
        self._connection = partial(
            aiosmtplib.SMTP,
            hostname=parts.hostname,
            port=parts.port or SCHEMES[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=parts.scheme == "smtps",
            start_tls=parts.scheme == "smtp+starttls",
            timeout=COMMAND_SECONDS,
        )

    async def send(self, mail: EmailMessage) -> None:
        """Return once the server has taken the mail. Raises `Rejected`; any other error may pass.

        When it raises after the mail's last byte, nobody knows whether the server took it.
        """
        async with asyncio.timeout(SEND_SECONDS):
            client = self._connection()
            await client.connect()
            try:
                await client.send_message(mail)
            except aiosmtplib.SMTPRecipientsRefused as error:
                raise _judged(error.recipients[0]) from None
            except aiosmtplib.SMTPDataError as error:
                raise _judged(error) from None
            except aiosmtplib.SMTPNotSupported as error:  # An address that this server cannot write to.
                raise Rejected(error.message) from error
            finally:
                client.close()


def _judged(error: aiosmtplib.SMTPResponseException) -> Exception:
    said = ADDRESS.sub("<address>", f"{error.code} {error.message}")
    return Rejected(said) if error.code >= PERMANENT else Deferred(said)
