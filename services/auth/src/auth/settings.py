"""The environment variables of auth, besides those of every service."""

from typing import Annotated

import jwt
from pydantic import Field, PositiveInt, SecretStr, ValidationInfo, field_validator

from auth.sessions.access_tokens import signing_key
from common.http.sessions import ACCESS_SECONDS, public_jwk
from common.settings import MailKey, MongoSettings, PublicSite


class AuthSettings(MongoSettings, MailKey, PublicSite):
    """Auth refuses to start with a key whose sessions the other services would refuse."""

    jwt_private_key: SecretStr
    """The Ed25519 key that signs sessions, PKCS 8 in PEM; its public half is in `jwt_public_keys`."""
    access_seconds: Annotated[int, Field(ge=1, le=ACCESS_SECONDS)] = ACCESS_SECONDS
    """How long an access token lasts. The services remember for no longer that a session has ended."""
    session_seconds: PositiveInt = 30 * 24 * 3600
    """How long a session lasts after its last refresh."""
    signin_failures_per_account: PositiveInt = 5
    """Failures a minute, for one network (IPv4 /24, IPv6 /64) with one account."""
    signin_failures_per_network: PositiveInt = 30
    """Failures a minute, for one network."""
    signups_per_network: PositiveInt = 60
    """Sign-ups a minute, for one network."""
    signups_overall: PositiveInt = 600
    """Sign-ups a minute, for all networks together: so many of the first ones of their networks, and so many others."""
    mails_per_network: PositiveInt = 30
    """Mails a minute that one network may ask for."""
    password_backlog: PositiveInt = 256
    """Passwords that may wait to be hashed, about a tenth of a second each; beyond it the answer is 503."""
    passwords_per_network: PositiveInt = 8
    """How many of them may wait for one network."""

    @field_validator("jwt_private_key")
    @classmethod
    def _public_half_is_known(cls, pem: SecretStr, info: ValidationInfo) -> SecretStr:
        kid = public_jwk(signing_key(pem.get_secret_value()).public_key())["kid"]
        known = info.data.get("jwt_public_keys")
        if known and kid not in {key.key_id for key in jwt.PyJWKSet.from_json(known).keys}:
            raise ValueError(f"JWT_PUBLIC_KEYS has no key with its kid {kid}: nobody could check its sessions")
        return pem
