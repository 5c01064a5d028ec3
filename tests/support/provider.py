"""The provider as a process of its own, with its own disk: `python -m tests.support.provider`.

It is the sandbox behind HTTP. `/dashboard` is what only the provider's own people do: refund a charge there, or a part
of it, and decide what a buyer's bank disputes.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response, status

from common.events import DisputeStatus
from common.mongo.client import AWAY, Database, Document, database
from payments.gateways.port import Charge, GatewayRefused, GatewayTimeout, GatewayUnavailable
from payments.gateways.sandbox import SandboxGateway
from payments.gateways.sandbox_remote import answer_to_json
from payments.gateways.sandbox_store import SandboxLedger
from tests.support.waiting import eventually

START_SECONDS = 60.0
"""How long the disk may take to be there."""


@asynccontextmanager
async def opened(db: Database, secret: str, webhook_url: str) -> AsyncIterator[FastAPI]:
    """The provider whose ledger is in `db`."""
    async with SandboxGateway.open(db.sandbox_charges, secret, webhook_url) as sandbox:
        app = FastAPI()
        app.state.sandbox, app.state.db = sandbox, db
        app.include_router(router)
        for error, code in ERRORS.items():
            app.add_exception_handler(error, _answering(code))
        yield app


ERRORS: dict[type[Exception], int] = {
    GatewayRefused: status.HTTP_409_CONFLICT,
    GatewayUnavailable: status.HTTP_503_SERVICE_UNAVAILABLE,
    GatewayTimeout: status.HTTP_504_GATEWAY_TIMEOUT,
    **dict.fromkeys(AWAY, status.HTTP_503_SERVICE_UNAVAILABLE),
}


def _answering(code: int) -> Any:
    async def answer(_: Request, error: Exception) -> Response:
        return Response(str(error), code)

    return answer


def _sandbox(request: Request) -> SandboxGateway:
    sandbox: SandboxGateway = request.app.state.sandbox
    return sandbox


router = APIRouter()
Sandbox = Annotated[SandboxGateway, Depends(_sandbox)]
InBody = Annotated[Any, Body(embed=True)]


@router.get("/readyz")
async def ready(request: Request) -> dict[str, str]:
    """Whether the disk answers."""
    await request.app.state.db.command("ping")
    return {"status": "ready"}


@router.post("/charges")
async def charge(charge: Charge, sandbox: Sandbox) -> dict[str, Any]:
    """Authorize or take money."""
    return answer_to_json(await sandbox.charge(charge))


@router.post("/abandoned")
async def abandon(charge: Charge, sandbox: Sandbox) -> dict[str, Any]:
    """See that a charge takes nothing."""
    return answer_to_json(await sandbox.abandon(charge))


@router.get("/charges/{reference}")
async def retrieve(reference: str, sandbox: Sandbox) -> dict[str, Any] | None:
    """How a charge stands; null if there is none."""
    found = await sandbox.retrieve(reference)
    return {**asdict(found), "answer": answer_to_json(found.answer)} if found else None


@router.post("/charges/{reference}/capture")
async def capture(reference: str, payment_id: InBody, sandbox: Sandbox) -> dict[str, Any]:
    """Take what is authorized."""
    return answer_to_json(await sandbox.capture(payment_id, reference))


@router.post("/charges/{reference}/release")
async def release(reference: str, sandbox: Sandbox) -> dict[str, Any]:
    """Give up an authorization."""
    return answer_to_json(await sandbox.release(reference))


@router.post("/charges/{reference}/refunds")
async def refund(reference: str, payment_id: InBody, attempt: InBody, sandbox: Sandbox) -> dict[str, Any]:
    """Give the money back."""
    return asdict(await sandbox.refund(payment_id, reference, attempt))


@router.post("/list")
async def list_charges(after: InBody, limit: InBody, ids: InBody, sandbox: Sandbox) -> Sequence[dict[str, Any]]:
    """A page of the ledger."""
    return [asdict(record) for record in await sandbox.charges(after, limit, ids)]


@router.post("/dashboard/{payment_id}/refund")
async def refund_in_the_dashboard(payment_id: str, request: Request, amount: int | None = None) -> bool:
    """Give money back that Souk has, all or this `amount`, without its asking. Returns whether there was as much."""
    now = datetime.now(UTC)
    if amount is not None:
        return await SandboxLedger(request.app.state.db.sandbox_charges).refund_part(payment_id, amount, now)
    return await _change(request, {"_id": payment_id, **_with_souk(now)}, {"refunded_at": now, "in_dashboard": True})


@router.post("/dashboard/{payment_id}/dispute")
async def decide_dispute(payment_id: str, outcome: DisputeStatus, request: Request) -> bool:
    """The buyer's bank opens a dispute, or decides an open one. Returns whether that was possible."""
    now = datetime.now(UTC)
    if outcome is DisputeStatus.OPEN:
        return await _change(request, {"_id": payment_id, **_with_souk(now)}, {"disputed_at": now})
    undecided = {"disputed_at": {"$lte": now}, "dispute": {"$exists": False}}
    return await _change(request, {"_id": payment_id, **undecided}, {"dispute": outcome})


def _with_souk(now: datetime) -> Document:
    """Charges whose money Souk has, and nobody has disputed."""
    return {"captured_at": {"$lte": now}, "refunded_at": {"$exists": False}, "disputed_at": {"$exists": False}}


async def _change(request: Request, wanted: Document, change: Document) -> bool:
    """Change a charge, which the next webhook call reports."""
    noted = {"$set": {**change, "notify_at": datetime.now(UTC)}}
    changed = await request.app.state.db.sandbox_charges.update_one(wanted, noted)
    return bool(changed.modified_count)


async def main() -> None:
    """Serve until the process is told to stop. The disk may start at the same time."""
    env = os.environ
    async with database(env["MONGO_URL"]) as db:

        async def there() -> bool:
            try:
                return bool(await db.command("ping"))
            except AWAY:
                return False

        await eventually(there, START_SECONDS)
        async with opened(db, env["WEBHOOK_SECRET"], env["WEBHOOK_URL"]) as app:
            config = uvicorn.Config(app, env["HOST"], int(env["PORT"]), log_level="warning", access_log=False)
            await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
