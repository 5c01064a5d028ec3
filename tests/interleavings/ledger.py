"""The sandbox's ledger in memory, and what banks and the provider's own people do there."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from common.events import DisputeStatus
from common.mongo.client import Collection, Document
from payments.gateways.port import GatewayRefused, GatewayTimeout
from payments.gateways.sandbox_store import SandboxLedger
from tests.interleavings.steps import Wires, pause


class MemoryLedger(SandboxLedger):
    """Charges by payment id. `moving` is called with each payment at the moment when its money moves by a capture."""

    def __init__(
        self, charges: dict[str, Document], leased: Collection, wires: Wires, moving: Callable[[str], None]
    ) -> None:
        self.collection = leased
        self.charges = charges
        self._wires = wires
        self._moving = moving

    async def add(self, charge: Document) -> Document:
        def insert() -> Document:
            if charge["_id"] in self.charges:
                return dict(self.charges[charge["_id"]])
            self.charges[charge["_id"]] = dict(charge)
            return charge

        return await self._wires.call(insert, GatewayTimeout)

    async def find(self, payment_id: str) -> Document | None:
        await pause()
        found = self.charges.get(payment_id)
        return dict(found) if found else None

    async def capture(self, payment_id: str, now: datetime, later: Mapping[str, datetime] | None = None) -> Document:
        def take() -> Document:
            charge = self._charge(payment_id)
            agreed = charge.get("authorized_at")
            if agreed and agreed <= now and not charge.get("ended") and not charge.get("captured_at"):
                self._moving(payment_id)
                charge["captured_at"] = now
                for name, at in (later or {}).items():
                    charge[name] = charge["notify_at"] = at
            return dict(charge)

        return await self._wires.call(take, GatewayTimeout)

    async def end(self, payment_id: str, reason: str, now: datetime) -> Document:
        return await self._wires.call(lambda: self.end_now(payment_id, reason, now), GatewayTimeout)

    async def refund(self, payment_id: str, now: datetime, fails_at: datetime | None = None) -> Document | None:
        def give_back() -> Document | None:
            charge = self._charge(payment_id)
            if not _has_come(charge, now):
                return None
            if "refunded_at" not in charge and not (fails_at and "refund_failures" in charge):
                charge["refunded_at"] = now
                if fails_at:
                    charge["refund_fails_at"] = charge["notify_at"] = fails_at
            return dict(charge)

        return await self._wires.call(give_back, GatewayTimeout)

    async def refund_part(self, payment_id: str, amount: int, now: datetime, **wanted: object) -> bool:
        def give_back() -> bool:
            charge = self.charges[payment_id]
            as_wanted = all(charge.get(name) == value for name, value in wanted.items())
            return as_wanted and self.refund_now(payment_id, amount, now)

        return await self._wires.call(give_back, GatewayTimeout)

    async def fail_refund(self, payment_id: str, reason: str, now: datetime) -> None:
        def fail() -> None:
            charge = self.charges[payment_id]
            if "refund_fails_at" in charge and charge["refund_fails_at"] <= now:
                charge.pop("refunded_at", None)
                del charge["refund_fails_at"]
                charge["refund_failures"] = charge.get("refund_failures", 0) + 1
                charge["refund_failure"] = reason

        await self._wires.call(fail, GatewayTimeout)

    async def notified(self, charge: Document) -> None:
        def note() -> None:
            stored = self.charges[charge["_id"]]
            if stored.get("notify_at") == charge.get("notify_at"):
                stored.pop("notify_at", None)
                stored["tries"] = 0

        await self._wires.call(note, GatewayTimeout)

    def end_now(self, payment_id: str, reason: str, now: datetime) -> Document:
        """End a charge of which nothing is captured."""
        charge = self._charge(payment_id)
        if not _has_come(charge, now):
            charge["captured_at"] = None
            charge.setdefault("ended", reason)
        return dict(charge)

    def refund_now(self, payment_id: str, amount: int, now: datetime) -> bool:
        """Give a part of the money back that nobody has disputed, or all. Returns whether there was as much."""
        charge = self.charges[payment_id]
        back = charge.get("part_refunded", 0) + amount
        if not self.with_souk(payment_id, now) or back > charge["amount"]:
            return False
        charge.pop("part_refund_at", None)
        charge |= {"part_refunded": back, "notify_at": now}
        if back == charge["amount"]:
            charge["refunded_at"] = now
        return True

    def rest(self, payment_id: str) -> int:
        """How much of a captured charge did not go back as a part, in minor units."""
        charge = self.charges[payment_id]
        rest: int = charge["amount"] - charge.get("part_refunded", 0)
        return rest

    def with_souk(self, payment_id: str, now: datetime) -> bool:
        """Whether the money has come, did not go back whole, and nobody ever disputed it."""
        charge = self.charges[payment_id]
        return _has_come(charge, now) and not {"refunded_at", "disputed_at"} & charge.keys()

    def dispute_now(self, payment_id: str, now: datetime) -> None:
        """The buyer's bank takes the money."""
        self.charges[payment_id] |= {"disputed_at": now, "notify_at": now}

    def bounce_now(self, payment_id: str, now: datetime) -> None:
        """The refund that will fail does so now."""
        self.charges[payment_id] |= {"refund_fails_at": now, "notify_at": now}

    def undecided(self, now: datetime) -> Sequence[str]:
        """The payments whose dispute is open."""
        return [k for k, c in self.charges.items() if "dispute" not in c and c.get("disputed_at", LATER) <= now]

    def decide_now(self, payment_id: str, outcome: DisputeStatus, now: datetime) -> None:
        """The buyer's bank decides an open dispute."""
        self.charges[payment_id] |= {"dispute": outcome, "notify_at": now}

    def _charge(self, payment_id: str) -> Document:
        if payment_id not in self.charges:
            raise GatewayRefused(f"there is no charge for payment {payment_id}")
        return self.charges[payment_id]


LATER = datetime.max.replace(tzinfo=UTC)


def _has_come(charge: Document, now: datetime) -> bool:
    captured = charge.get("captured_at")
    return bool(captured and captured <= now)
