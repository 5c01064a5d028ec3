"""What orders reads from the environment."""

from typing import Annotated

from pydantic import Field, PositiveInt

from common.settings import MongoSettings


class OrdersSettings(MongoSettings):
    """The limits of holds."""

    hold_seconds: PositiveInt = 900
    """How long an unpaid order keeps its units."""
    hold_limit: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Units of one item that one buyer may hold at a time."""
    refunds_proved_above: Annotated[int, Field(ge=0)] = 50_000
    """Minor units: a seller who refunds more is asked for a passkey again."""
