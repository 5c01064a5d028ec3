"""The environment variables of items: those of every service with a database."""

from common.settings import MongoSettings


class ItemsSettings(MongoSettings):
    """The settings of every service with a database."""
