"""Which scans of a device have arrived: a device numbers them from 1, without a gap. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

MOST_GAPS = 50
"""Gaps of a device that are kept, the newest: what numbers its scans otherwise than the page does has many."""


@dataclass(frozen=True)
class Arrival:
    """A scan that has arrived, whatever its answer is."""

    device: str
    seq: int
    item_id: str
    gate: str


class Gap(BaseModel):
    """Scans from `first` to `last` that have not arrived, though a later one has: at this gate."""

    model_config = ConfigDict(frozen=True)

    first: int
    last: int
    item_id: str
    gate: str

    @property
    def size(self) -> int:
        """How many scans are missing."""
        return self.last - self.first + 1

    def without(self, seq: int) -> Iterator["Gap"]:
        """What is left of it once this scan has arrived."""
        if self.first <= seq <= self.last:
            left = self.model_copy(update={"last": seq - 1}), self.model_copy(update={"first": seq + 1})
            yield from (gap for gap in left if gap.size)
        else:
            yield self


class Device(BaseModel):
    """A device: the newest scan of it that has arrived, and those before it that have not."""

    id: str
    last: int = 0
    gaps: tuple[Gap, ...] = ()
    version: int = 0

    def arrived(self, scan: Arrival) -> None:
        """A scan has arrived, perhaps not for the first time."""
        if scan.seq <= self.last:
            self.gaps = tuple(left for gap in self.gaps for left in gap.without(scan.seq))
            return
        gap = Gap(first=self.last + 1, last=scan.seq - 1, item_id=scan.item_id, gate=scan.gate)
        self.gaps = (*self.gaps, *([gap] if gap.size else []))[-MOST_GAPS:]
        self.last = scan.seq
