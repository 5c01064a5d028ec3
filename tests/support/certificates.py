"""Certificates as cert-manager would issue them: an authority, and what it signs, as files of a Secret."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


@dataclass
class Authority:
    """Signs certificates. Another one has the same name and another key."""

    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    own: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Have a new certificate for the key that it has, as with cert-manager's `rotationPolicy: Never`."""
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = _dated(_NAME, self.key).add_extension(constraints, critical=True)
        self.own = builder.add_extension(usage, critical=True).sign(self.key, SHA256())

    def issue(self, folder: Path, *names: str) -> Path:
        """Write the files of a Secret for a server with these names, in place of those before. Return the folder."""
        key = generate_private_key(SECP256R1())
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = (
            _dated(x509.Name([]), key)
            .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=True)
            .add_extension(purposes, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        certificate = builder.sign(self.key, SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"tls.key": private, "tls.crt": _pem(certificate), "ca.crt": _pem(self.own)}
        texts["tls.pem"] = texts["tls.crt"] + private  # as the operator of MongoDB joins them
        for name, text in texts.items():
            fresh = folder / f"{name}.new"
            fresh.write_bytes(text)
            fresh.chmod(0o600)
            fresh.replace(folder / name)
        return folder


_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "souk inside")])


def _dated(subject: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 90 * DAY)
        .add_extension(identifier, critical=False)
    )


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_alternative(name) for name in names]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
