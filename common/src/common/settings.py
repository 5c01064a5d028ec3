"""Settings: environment variables, or files of the same name in the directory SECRETS_DIR.

What holds a password or a private key is a `SecretStr`, which no log and no traceback shows.
"""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import jwt
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="Listening")

DEVELOPMENT = "dev_"
"""How a password begins that the laptop's stack or `make secrets` has made."""

_FOR_DEVELOPMENT = re.compile(rf"(^|[:/]){DEVELOPMENT}").search

EX_CONFIG = 78
"""Exit code for a wrong configuration, as in sysexits.h."""


class WrongSetting(ValueError):
    """A setting names what cannot be used. The message says which setting, and why."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


class Listening(BaseSettings):
    """Settings of every process that answers HTTP."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert_file: Path | None = None
    """The certificate that callers see, as PEM. Without it the process listens in the clear."""
    tls_key_file: Path | None = None
    """The key of the certificate, as PEM without a passphrase."""

    def __init__(self, **values: Any) -> None:
        super().__init__(_secrets_dir=os.environ.get("SECRETS_DIR"), **values)


class Settings(Listening):
    """Settings of every service. Each service adds its own; a setting without a default is required."""

    env: Literal["dev", "prod"] = "dev"
    """`prod` is where real people buy: nothing that is for development is accepted there."""
    log_level: str = "INFO"
    log_format: Literal["text", "json"] | None = None
    """By default `text` if standard output is a terminal, else `json`."""
    nats_url: SecretStr
    nats_replicas: int = 1

    @field_validator("*")
    @classmethod
    def _is_not_for_development(cls, value: Any, info: ValidationInfo) -> Any:
        secret = value.get_secret_value() if isinstance(value, SecretStr) else ""
        if info.data.get("env") == "prod" and _FOR_DEVELOPMENT(secret):
            raise ValueError("it was made for development, and ENV is prod")
        return value


class SessionSettings(Settings):
    """Settings of a service that signed-in users call."""

    jwt_public_keys: str
    """A JWK set (RFC 7517) of the Ed25519 public keys that verify sessions, by `kid`."""
    cookie_secure: bool = Field(default=False, validate_default=True)
    """People come over https only: cookies are marked Secure and have the prefix `__Host-`."""

    require_verified_email: bool | None = None
    """Only who has proved their address may hold and sell. By default so where ENV is prod."""

    writes_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """Changes that one user, or a network without a session, may ask a process of the service for in a minute."""

    require_passkey: bool | None = None
    """Operators must have a passkey, and so must who refunds much. By default so where ENV is prod."""

    @property
    def passkeys_only(self) -> bool:
        """Whether operators must have a passkey."""
        return self.env == "prod" if self.require_passkey is None else self.require_passkey

    @property
    def verified_only(self) -> bool:
        """Whether only who has proved their address may hold and sell."""
        return self.env == "prod" if self.require_verified_email is None else self.require_verified_email

    @field_validator("cookie_secure")
    @classmethod
    def _is_secure_in_production(cls, secure: bool, info: ValidationInfo) -> bool:
        if info.data.get("env") == "prod" and not secure:
            raise ValueError("ENV is prod: people come over https")
        return secure

    @field_validator("jwt_public_keys")
    @classmethod
    def _are_keys(cls, jwk_set: str) -> str:
        try:
            jwt.PyJWKSet.from_json(jwk_set)
        except (jwt.PyJWTError, ValueError, AttributeError):
            raise ValueError("it is not a JWK set with at least one usable key") from None
        return jwk_set


class MongoSettings(SessionSettings):
    """Settings of a service with a database. `mongo_url` names the database."""

    mongo_url: SecretStr


class PublicSite(Settings):
    """Where people find Souk."""

    public_url: str
    """As in `https://souk.example.com`."""

    @field_validator("public_url")
    @classmethod
    def _is_a_site(cls, url: str, info: ValidationInfo) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("it is not the address of a site, as in https://souk.example.com")
        if parts.scheme == "http" and info.data.get("env") == "prod":
            raise ValueError("ENV is prod: people come over https")
        return url.rstrip("/")


class MailKey(Settings):
    """The key that auth and notifications share: it makes and checks the tokens in mails."""

    mail_token_key: SecretStr = Field(min_length=16)


class TransferKey(Settings):
    """The key that tickets and notifications share: it makes and checks the tokens in mails that offer a ticket."""

    transfer_token_key: SecretStr = Field(min_length=16)


def load(kind: type[S]) -> S:
    """The settings from the environment. If one is missing or wrong, print which and exit with status 78."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            _complain(name, "is missing" if problem["type"] == "missing" else f"is wrong: {problem['msg']}")
        raise SystemExit(EX_CONFIG) from None


def refused(wrong: WrongSetting) -> SystemExit:
    """Print which setting is wrong. Raise what is returned, to exit with status 78."""
    _complain(wrong.name, f"is wrong: {wrong.why}")
    return SystemExit(EX_CONFIG)


def _complain(name: str, what: str) -> None:
    print(f"setting {name} {what}; set the environment variable or a file in SECRETS_DIR", file=sys.stderr)  # noqa: T201
