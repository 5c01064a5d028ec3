"""Settings come from environment variables, or from files of the same name in the directory SECRETS_DIR."""

import os
import sys
from typing import Any, TypeVar

import jwt
from pydantic import SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="Settings")

EX_CONFIG = 78  # sysexits.h: something was found in an unconfigured or misconfigured state


class Settings(BaseSettings):
    """What every service needs. A service adds its own fields; a field without a default must be set."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = 8000
    log_level: str = "INFO"
    nats_url: SecretStr
    nats_replicas: int = 1

    def __init__(self, **values: Any) -> None:
        super().__init__(_secrets_dir=os.environ.get("SECRETS_DIR"), **values)


class SessionSettings(Settings):
    """What a service needs that people call."""

    jwt_public_keys: str
    """A JWK set (RFC 7517) of the Ed25519 public keys that sessions are checked against, by `kid`."""

    @field_validator("jwt_public_keys")
    @classmethod
    def _are_keys(cls, jwk_set: str) -> str:
        try:
            jwt.PyJWKSet.from_json(jwk_set)
        except (jwt.PyJWTError, ValueError, AttributeError):
            raise ValueError("it is not a JWK set with at least one usable key") from None
        return jwk_set


class MongoSettings(SessionSettings):
    """What a service with a database of its own needs: a connection string that names the database."""

    mongo_url: SecretStr


def load(kind: type[S]) -> S:
    """The settings from the environment; without a required one, a sentence that names it and exit status 78."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            why = "is missing" if problem["type"] == "missing" else f"is wrong: {problem['msg']}"
            print(f"setting {name} {why}; set the environment variable or a file in SECRETS_DIR", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_CONFIG) from None
