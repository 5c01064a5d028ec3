"""The newest report, what the next check goes on from, and when it is due, in MongoDB."""

from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from audit.reconciliation.findings import Checkpoint, Report
from common.mongo.client import Collection, Database

NEWEST = "newest"
TURN = "turn"


class ReportStore:
    """One report, shared by the replicas."""

    def __init__(self, db: Database) -> None:
        self._reports: Collection = db.reports

    async def take_turn(self, now: datetime, every: timedelta) -> bool:
        """Whether a check is due and the caller is to make it. The next one is due `every` from now."""
        due = {"_id": TURN, "at": {"$lte": now}}
        try:
            await self._reports.update_one(due, {"$set": {"at": now + every}}, upsert=True)
        except DuplicateKeyError:  # The document exists and is not due.
            return False
        return True

    async def give_back(self, at: datetime) -> None:
        """The check failed: the next one is due at `at`, if not sooner."""
        await self._reports.update_one({"_id": TURN}, {"$min": {"at": at}})

    async def ask(self, now: datetime) -> None:
        """Somebody wants everything to be checked now."""
        await self._reports.update_one({"_id": TURN}, {"$min": {"at": now}, "$max": {"whole_after": now}})

    async def checkpoint(self, since: datetime | None = None) -> Checkpoint | None:
        """What the newest check left to go on from.

        None if nothing is left, or everything is to be checked: because that was last done before `since`, or because
        somebody has asked for it.
        """
        newest = await self._reports.find_one({"_id": NEWEST}, {"checkpoint": 1}) or {}
        if not (document := newest.get("checkpoint")):
            return None
        checkpoint = Checkpoint.model_validate(document)
        turn = await self._reports.find_one({"_id": TURN}) or {}
        due = [at for at in (since, turn.get("whole_after")) if at]
        return None if any(checkpoint.whole_at < at for at in due) else checkpoint

    async def newest(self) -> Report | None:
        """The newest report; None before the first one."""
        document = await self._reports.find_one({"_id": NEWEST}, {"checkpoint": 0})
        return Report.model_validate(document) if document else None

    async def keep(self, report: Report, checkpoint: Checkpoint | None = None) -> None:
        """Store this as the newest report, in one write with what the next check goes on from."""
        earlier = await self.newest()
        aged = report.after(earlier) if earlier else report
        left = {"checkpoint": checkpoint.model_dump()} if checkpoint else {}
        await self._reports.replace_one({"_id": NEWEST}, aged.model_dump() | left, upsert=True)
