"""What orders reads from the environment."""

from pydantic import PositiveInt

from common.settings import MongoSettings


class OrdersSettings(MongoSettings):
    """The rules of the house for holds."""

    hold_seconds: PositiveInt = 900
    """How long an unpaid order keeps its units."""
    hold_limit: PositiveInt = 10
    """Units of one item that one buyer may hold at a time."""
