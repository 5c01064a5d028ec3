"""TLS between services: what a service shows to its callers, and whom a caller believes. See docs/decisions/tls.md."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from common.settings import Listening, WrongSetting, refused

log = logging.getLogger(__name__)

CERTIFICATE, KEY = "TLS_CERT_FILE", "TLS_KEY_FILE"
"""The settings."""


def context_factory(settings: Listening) -> Callable[..., ssl.SSLContext] | None:
    """What uvicorn makes its TLS context with; None if the process listens in the clear.

    Exits as `load` does if the settings are wrong.
    """
    shown, key = settings.tls_cert_file, settings.tls_key_file
    if shown is None and key is None:
        return None
    try:
        if shown is None or key is None:
            missing, there = (CERTIFICATE, KEY) if shown is None else (KEY, CERTIFICATE)
            raise WrongSetting(missing, f"it is missing, and {there} is set")
        certificate = Certificate(shown, key)
    except WrongSetting as wrong:
        raise refused(wrong) from None
    return lambda *_: certificate.context()


def trusting(setting: str, authority: Path) -> ssl.SSLContext:
    """Believe who has a certificate of this authority, and no other, for the name that is called.

    Exits as `load` does if the file is none.
    """
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise refused(WrongSetting(setting, f"{authority} is not a certificate: {error}")) from None


class Certificate:
    """A certificate with its key, in files that change when it is renewed.

    Each handshake looks whether they have. Connections that are open stay.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `WrongSetting` if the files are none, or do not belong together."""
        self._certificate = certificate
        self._key = key
        self._seen = self._stamp()
        self._newest = self._load()

    def context(self) -> ssl.SSLContext:
        """What a server listens with: TLS 1.2 or newer."""
        listening = self._load()
        listening.sni_callback = self._show  # Called in each handshake, also where the caller says no name.
        return listening

    def _show(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if (now := self._stamp()) != self._seen:
            self._seen = now  # As of before the files are read: what changes meanwhile is read next time.
            try:
                self._newest = self._load()
                log.info("the certificate was renewed")
            except WrongSetting as wrong:
                log.warning("the certificate stays as it was: %s", wrong)
        connection.context = self._newest

    def _stamp(self) -> list[tuple[int, int] | None]:
        """What is different when a file has changed."""
        return [_inode(file) for file in (self._certificate, self._key)]

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self._certificate)
        except OSError as error:
            raise WrongSetting(CERTIFICATE, f"{self._certificate} is not a certificate: {error}") from None
        try:
            self._key.stat()
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        except OSError as error:
            raise WrongSetting(KEY, f"{self._key} is not the key of {self._certificate}: {error}") from None
        return context


def _inode(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _no_passphrase() -> str:
    """Without it, OpenSSL would ask for one at the terminal."""
    return ""
