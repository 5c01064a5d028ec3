"""All routes of audit. Only operators may use them."""

from fastapi import APIRouter, Depends

from audit.dead_letters import routes as dead_letters
from audit.history import routes as history
from audit.reconciliation import routes as reconciliation
from audit.security import routes as security
from common.http.problems import problems
from common.http.sessions import OperatorOnly, current_operator

router = APIRouter(
    prefix="/api/audit", tags=["audit"], dependencies=[Depends(current_operator)], responses=problems(OperatorOnly)
)
for feature in (history, reconciliation, dead_letters, security):
    router.include_router(feature.router)
