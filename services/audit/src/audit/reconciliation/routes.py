"""The route of the newest reconciliation report."""

from typing import Annotated

from fastapi import APIRouter

from audit.reconciliation.findings import NotChecked, Report
from audit.reconciliation.store import ReportStore
from common.http.dependencies import Provided
from common.http.problems import problems

router = APIRouter()

Reports = Annotated[ReportStore, Provided(ReportStore)]


@router.get("/reconciliation", responses=problems(NotChecked))
async def show_reconciliation(reports: Reports) -> Report:
    """The newest report."""
    if report := await reports.newest():
        return report
    raise NotChecked("the first check is still running; try again in a moment")
