"""Environment variables of expiration."""

from common.settings import Settings


class ExpirationSettings(Settings):
    """Where its own Redis is: one that evicts nothing. Every other service's data reaches it over the bus."""

    redis_url: str
    jwt_public_keys: str = ""  # It has no callers, so it checks no sessions.
