"""Environment variables of expiration."""

from pydantic import SecretStr

from common.settings import Settings


class ExpirationSettings(Settings):
    """Where its own Redis is: one that evicts nothing. Every other service's data reaches it over the bus."""

    redis_url: SecretStr
