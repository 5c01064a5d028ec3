"""The newest report, and when the next check is due, in MongoDB."""

from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from audit.reconciliation.findings import Report
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
        """The check failed, or somebody wants another one: the next one is due at `at`, if not sooner."""
        await self._reports.update_one({"_id": TURN}, {"$min": {"at": at}})

    async def newest(self) -> Report | None:
        """The newest report; None before the first one."""
        document = await self._reports.find_one({"_id": NEWEST})
        return Report.model_validate(document) if document else None

    async def keep(self, report: Report) -> None:
        """Store this as the newest report."""
        earlier = await self.newest()
        aged = report.after(earlier) if earlier else report
        await self._reports.replace_one({"_id": NEWEST}, aged.model_dump(), upsert=True)
