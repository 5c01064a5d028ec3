"""All routes of audit. Only operators may use them."""

from fastapi import APIRouter, Depends

from audit.dead_letters import routes as dead_letters
from audit.history import routes as history
from audit.reconciliation import routes as reconciliation
from common.http.problems import problems
from common.http.sessions import OperatorOnly, PasskeyNeeded, ProofNeeded, current_operator

router = APIRouter(
    prefix="/api/audit",
    tags=["audit"],
    dependencies=[Depends(current_operator)],
    responses=problems(OperatorOnly, PasskeyNeeded, ProofNeeded),
)
for feature in (history, reconciliation, dead_letters):
    router.include_router(feature.router)
