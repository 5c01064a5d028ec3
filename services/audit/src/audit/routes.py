"""All routes of audit. Only operators may use them, but for what everybody may read about themselves."""

from fastapi import APIRouter, Depends

from audit.dead_letters import routes as dead_letters
from audit.history import routes as history
from audit.mine import routes as mine
from audit.reconciliation import routes as reconciliation
from audit.security import routes as security
from common.http.problems import problems
from common.http.sessions import OperatorOnly, PasskeyNeeded, ProofNeeded, current_operator

operators = APIRouter(
    dependencies=[Depends(current_operator)], responses=problems(OperatorOnly, PasskeyNeeded, ProofNeeded)
)
for feature in (history, reconciliation, dead_letters, security):
    operators.include_router(feature.router)

router = APIRouter(prefix="/api/audit", tags=["audit"])
router.include_router(mine.router)
router.include_router(operators)
