"""What orders reads from the environment."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, PositiveInt

from common.settings import MongoSettings
from orders.holds import HoldLimits


class OrdersSettings(MongoSettings):
    """The limits of holds."""

    hold_seconds: PositiveInt = 900
    """How long an unpaid order keeps its units."""
    hold_limit: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Units of one item that one buyer may hold at a time."""
    refunds_proved_above: Annotated[int, Field(ge=0)] = 50_000
    """Minor units: a seller who refunds more is asked for a passkey again."""
    total_hold_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Units of all items together that one buyer may hold at a time."""
    network_hold_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """Units of all items together that one network (IPv4 /24, IPv6 /64) may hold at a time."""
    network_hold_percent: Annotated[int, Field(ge=1, le=100)] = 10
    """Of what is there of one item, how much the buyers of one network may hold at a time."""
    hold_pause_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """How long a buyer waits after the second unpaid hold of an item; after each further one twice as long."""

    @property
    def hold_limits(self) -> HoldLimits:
        """The limits, as the desk applies them."""
        return HoldLimits(
            hold=timedelta(seconds=self.hold_seconds),
            per_item=self.hold_limit,
            total=self.total_hold_limit,
            network_total=self.network_hold_limit,
            network_percent=self.network_hold_percent,
            pause=timedelta(seconds=self.hold_pause_seconds),
        )
