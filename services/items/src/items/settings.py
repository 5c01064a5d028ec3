"""The environment variables of items: those of every service with a database."""

from common.settings import MongoSettings


class ItemsSettings(MongoSettings):
    """Nothing more."""
