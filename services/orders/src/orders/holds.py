"""What buyers and their networks hold unpaid, and how much of that is too much (docs/decisions/hoarding.md). No I/O."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.errors import Conflict, TooMany
from orders.stock import Stock

LAPSES_REMEMBERED = timedelta(hours=4)
"""How long a lapse makes the next hold of the same item wait: one that was cancelled or ran out."""

FREE_LAPSES = 2
"""With fewer lapses, nobody waits: people change their minds."""

MOST_DOUBLINGS = 5

ALWAYS_FOR_A_NETWORK = 2
"""Units of an item that a network may always hold, however few are left."""

LONGEST_WAIT = 60
"""Seconds after which a network is told to try again at the latest: by then somebody there may have paid."""


class TotalHoldLimit(Conflict):
    """A buyer holds the largest allowed number of units of all items together. The problem has the number: `limit`."""

    code = "total_hold_limit"


class BuyerLimit(Conflict):
    """The seller sells no more of the item to one person. The problem has the number: `limit`."""

    code = "buyer_limit"


class TooManyHolds(TooMany):
    """The buyer let holds of this item go unpaid, more than once: the next one has to wait."""

    code = "too_many_holds"


class NetworkHolds(TooMany):
    """People on the caller's network hold as much as one network may, or just let it go unpaid."""

    code = "network_holds"


@dataclass(frozen=True)
class HoldLimits:
    """How long an unpaid order holds its units, and how many units may be held so."""

    hold: timedelta
    per_item: int = 10
    """Of one item by one buyer."""
    total: int = 50
    """Of all items by one buyer."""
    network_total: int = 500
    """Of all items by one network."""
    network_percent: int = 10
    """Of what is there of one item, by the buyers of one network together."""
    pause: timedelta = timedelta(minutes=1)
    """After the second lapse of an item; doubled after each further one, up to 32 times as long."""


@dataclass(frozen=True, slots=True)
class Hold:
    """An order that awaits payment, or that did so until it lapsed. It counts for its buyer, and for their network."""

    item_id: str
    buyer_id: str
    quantity: int
    counts_for: tuple[str, ...]
    expires_at: datetime
    lapsed_at: datetime | None = None


@dataclass
class Owned:
    """The units of an item that one buyer holds or has paid for, and when the newest paid order was placed."""

    units: int = 0
    last_paid: datetime | None = None


class Holds:
    """The holds of the buyers and networks that ask for more, with those that lapsed lately."""

    def __init__(self, known: Iterable[Hold] = ()) -> None:
        self._of: dict[str, list[Hold]] = defaultdict(list)
        for hold in known:
            self.add(hold)

    def add(self, hold: Hold) -> None:
        """Count one more."""
        for holder in hold.counts_for:
            self._of[holder].append(hold)

    def units(self, holder: str, item_id: str | None = None) -> int:
        """Units that a buyer or a network holds, of one item or of all."""
        held = (h for h in self._of.get(holder, ()) if h.lapsed_at is None)
        return sum(h.quantity for h in held if item_id in {None, h.item_id})

    def lapses(self, buyer_id: str, item_id: str) -> list[datetime]:
        """When the buyer's holds of an item lapsed."""
        return [h.lapsed_at for h in self._of.get(buyer_id, ()) if h.lapsed_at and h.item_id == item_id]

    def check_buyer(
        self, buyer_id: str, stock: Stock, quantity: int, owned: Owned, limits: HoldLimits, now: datetime
    ) -> None:
        """Raise `TotalHoldLimit`, `BuyerLimit` or `TooManyHolds` if this buyer may not hold so many more."""
        if (held := self.units(buyer_id)) + quantity > limits.total:
            what = f"you may hold {limits.total} units at a time, of all items, and you hold {held}"
            raise TotalHoldLimit(what, limit=limits.total)
        if (most := stock.limit_per_buyer) and owned.units + quantity > most:
            raise BuyerLimit(f"the seller sells at most {most} to one person, and you have {owned.units}", limit=most)
        lapses = [at for at in self.lapses(buyer_id, stock.id) if owned.last_paid is None or at > owned.last_paid]
        if len(lapses) >= FREE_LAPSES:
            pause = limits.pause * 2 ** min(len(lapses) - FREE_LAPSES, MOST_DOUBLINGS)
            wait = math.ceil((max(lapses) + pause - now).total_seconds())
            if wait > 0:
                what = f"{len(lapses)} of your holds of this item were not paid"
                raise TooManyHolds(f"{what}; you can hold it again in {wait} s", wait)

    def check_network(
        self, network: str, buyer_id: str, stock: Stock, quantity: int, limits: HoldLimits, now: datetime
    ) -> None:
        """Raise `NetworkHolds` if the buyers of this network may not hold so many more together.

        Of one item they may hold a part of what is free or held by them. What lapsed counts for as long as a hold
        lasts. Who is the only one there to hold the item is free of this.
        """
        theirs = self._of.get(network, ())
        if self.units(network) + quantity > limits.network_total:
            raise _refused([h for h in theirs if h.lapsed_at is None], limits, now)
        counted = [
            h for h in theirs if h.item_id == stock.id and (h.lapsed_at is None or h.lapsed_at > now - limits.hold)
        ]
        if all(h.buyer_id == buyer_id for h in counted):
            return
        there = stock.free + self.units(network, stock.id)
        most = max(ALWAYS_FOR_A_NETWORK, there * limits.network_percent // 100)
        if sum(h.quantity for h in counted) + quantity > most:
            raise _refused(counted, limits, now)


def _refused(counted: Iterable[Hold], limits: HoldLimits, now: datetime) -> NetworkHolds:
    until = min((h.lapsed_at + limits.hold if h.lapsed_at else h.expires_at for h in counted), default=now)
    wait = min(LONGEST_WAIT, max(1, math.ceil((until - now).total_seconds())))
    return NetworkHolds(f"too much is held from your network right now; pay for it, or try again in {wait} s", wait)
