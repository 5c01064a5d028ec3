"""Mails go to a real SMTP server over TLS, to one whose certificate is good only, and with the password it asks for."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from aiosmtplib import SMTPException
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from common.clock import now
from infra.servers.process import free_port
from notifications.smtp import SmtpServer

from .receiving import Receiver

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")  # it has TLS

SCHEMES = ("smtps", "smtp+starttls")


@dataclass(frozen=True)
class Certificate:
    """A certificate of 127.0.0.1 that signs itself, in one file with its key."""

    path: Path

    @classmethod
    def made(cls, folder: Path, name: str, address: str = "127.0.0.1", days: int = 1) -> "Certificate":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now() - timedelta(days=2))
            .not_valid_after(now() + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = folder / f"{name}.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
        return cls(path)

    def context(self) -> ssl.SSLContext:
        """With which a server shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


def authenticated(server: SMTP, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
    """Whether it is the right password."""
    return AuthResult(success=data == LoginPassword(b"souk", b"wo:rd"), handled=False)


@asynccontextmanager
async def listening(scheme: str, certificate: Certificate) -> AsyncIterator[Receiver]:
    """A server that takes mails over TLS and with a password only."""
    loop, receiver, context = asyncio.get_running_loop(), Receiver(free_port()), certificate.context()

    def connected() -> SMTP:
        implicit = scheme == "smtps"
        return SMTP(
            receiver,
            loop=loop,
            authenticator=authenticated,
            auth_required=True,
            auth_require_tls=not implicit,  # aiosmtpd knows of no other TLS
            require_starttls=not implicit,
            tls_context=None if implicit else context,
        )

    server = await loop.create_server(connected, "127.0.0.1", receiver.port, ssl=context if scheme == "smtps" else None)
    try:
        yield receiver
    finally:
        server.close()


def mail() -> EmailMessage:
    """A mail."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "souk@souk.test", "ada@souk.test", "Welcome"
    made.set_content("Hello")
    return made


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """A certificate that this process trusts, as SSL_CERT_FILE says it to OpenSSL."""
    certificate = Certificate.made(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    return certificate


def server(scheme: str, receiver: Receiver, user: str = "souk:wo%3Ard") -> SmtpServer:
    """The server as SMTP_URL names it."""
    return SmtpServer(SecretStr(f"{scheme}://{user}@127.0.0.1:{receiver.port}"))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_mail_arrives_over_tls(scheme: str, trusted: Certificate) -> None:
    async with listening(scheme, trusted) as receiver:
        await server(scheme, receiver).send(mail())
    assert [taken["Subject"] for taken in receiver.taken] == ["Welcome"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("wrong", ["stranger", "elsewhere", "expired"])
async def test_a_server_with_a_wrong_certificate_gets_neither_mail_nor_password(
    scheme: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate.made(
        tmp_path, wrong, "127.0.0.2" if wrong == "elsewhere" else "127.0.0.1", -1 if wrong == "expired" else 1
    )
    known = Certificate.made(tmp_path, "known") if wrong == "stranger" else certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(known.path))

    async with listening(scheme, certificate) as receiver:
        with pytest.raises((OSError, SMTPException), match="CERTIFICATE_VERIFY_FAILED"):
            await server(scheme, receiver).send(mail())
    assert (receiver.asked, receiver.taken) == (0, [])


async def test_a_server_that_cannot_do_starttls_gets_nothing(trusted: Certificate) -> None:
    receiver = Receiver(free_port())
    async with receiver.listening():
        with pytest.raises(Exception, match=r"STARTTLS"):
            await server("smtp+starttls", receiver).send(mail())
    assert receiver.asked == 0


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_wrong_password_sends_nothing(scheme: str, trusted: Certificate) -> None:
    async with listening(scheme, trusted) as receiver:
        with pytest.raises(Exception, match="535"):
            await server(scheme, receiver, "souk:wrong").send(mail())
    assert receiver.asked == 0
