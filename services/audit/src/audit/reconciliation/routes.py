"""The route of the newest reconciliation report."""

from typing import Annotated

from fastapi import APIRouter, status

from audit.reconciliation.findings import NotChecked, Report
from audit.reconciliation.store import ReportStore
from common.http.dependencies import Now, Provided
from common.http.problems import problems

router = APIRouter()

Reports = Annotated[ReportStore, Provided(ReportStore)]


@router.get("/reconciliation", responses=problems(NotChecked))
async def show_reconciliation(reports: Reports) -> Report:
    """The newest report."""
    if report := await reports.newest():
        return report
    raise NotChecked("the first check is still running; try again in a moment")


@router.post("/reconciliation", status_code=status.HTTP_202_ACCEPTED)
async def check_now(reports: Reports, now: Now) -> None:
    """Check everything within seconds, not only when it is due. The report is the newest one once it is done."""
    await reports.ask(now)
