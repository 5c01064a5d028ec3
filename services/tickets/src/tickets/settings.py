"""The environment variables of tickets."""

from pydantic import SecretStr, field_validator

from common.settings import MongoSettings, TransferKey
from tickets.codes import TicketCodes, public_keys


class TicketsSettings(MongoSettings, TransferKey):
    """The key that signs codes, and those that did before."""

    ticket_private_key: SecretStr
    """An Ed25519 key as PKCS 8 in PEM. Only tickets has it."""
    ticket_public_keys: str = ""
    """A JWK set of the keys that have signed codes before. What they signed stays valid."""

    @field_validator("ticket_private_key")
    @classmethod
    def _signs(cls, pem: SecretStr) -> SecretStr:
        try:
            TicketCodes(pem.get_secret_value())
        except ValueError:
            raise ValueError("it is not an Ed25519 key in PEM") from None
        return pem

    @field_validator("ticket_public_keys")
    @classmethod
    def _verify(cls, jwk_set: str) -> str:
        public_keys(jwk_set)
        return jwk_set
