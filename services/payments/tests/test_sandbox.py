"""The sandbox's cards and its webhook calls, over real HTTP."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Response

from common import leased_work
from common.clock import now, whole_milliseconds
from common.events import Currency
from common.ids import new_id
from common.mongo.client import Database
from payments.gateways.port import BadSignature, Charge
from payments.gateways.sandbox import SIGNATURE, Notice, SandboxGateway, signature
from payments.gateways.sandbox_store import SandboxLedger
from payments.settings import PaymentsSettings
from tests.support.clock import Clock
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve


SECRET = "a secret for the tests alone"


def a_charge(method: str, *, hold: timedelta = timedelta(minutes=15)) -> Charge:
    return Charge(new_id(), new_id(), 900, Currency.EUR, method, datetime.now(UTC) + hold)


class Listener:
    """Answers at the webhook's address."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.busy = 0  # so many calls are refused first
        self.together = asyncio.Barrier(1)
        self.app = FastAPI()
        self.app.post("/api/payments/webhook")(self.receive)

    async def receive(self, notice: Notice) -> Response:
        """Answer once as many calls are here as should come together."""
        await asyncio.wait_for(self.together.wait(), 30)
        if self.busy:
            self.busy -= 1
            return Response(status_code=503)
        self.received[notice.reference] += 1
        return Response(status_code=204)

    async def receives(self, reference: str, times: int = 1) -> datetime:
        """Wait until a charge was reported `times` times."""

        async def enough() -> bool:
            return self.received[reference] == times

        await eventually(enough)
        return datetime.now(UTC)


@pytest_asyncio.fixture
async def listener(serve: "Serve", settings: PaymentsSettings) -> AsyncIterator[Listener]:
    listener = Listener()
    async with serve(listener.app, settings.port):
        yield listener


async def delivered(db: Database) -> bool:
    """Whether no call waits any more."""
    return not await db.sandbox_charges.count_documents({"notify_at": {"$exists": True}})


async def test_a_signature_from_the_future_is_refused(sandbox: SandboxGateway) -> None:
    body, soon = Notice(id="evt_1", reference="ch_1").model_dump_json().encode(), int(time.time()) + 330

    with pytest.raises(BadSignature):
        sandbox.verify(body, {SIGNATURE: f"t={soon},v1={signature(SECRET, soon, body)}"})


async def reports_at(db: Database, charge: Charge) -> datetime:
    """When the sandbox will report a charge."""
    stored = await db.sandbox_charges.find_one({"_id": charge.payment_id}) or {}
    moment: datetime = stored["notify_at"]
    return moment


async def test_a_slow_card_reports_after_two_seconds(sandbox: SandboxGateway, listener: Listener, db: Database) -> None:
    charge, clock = a_charge("pm_card_slow"), Clock(now())
    with clock.shown(leased_work):  # It is not due before somebody has looked.
        answer = await sandbox.charge(charge)
        moment = await reports_at(db, charge)

    assert moment == clock.now + timedelta(seconds=2)
    assert await listener.receives(answer.reference) >= moment


async def test_a_late_card_reports_three_seconds_after_the_hold(
    sandbox: SandboxGateway, listener: Listener, db: Database
) -> None:
    charge, clock = a_charge("pm_card_late", hold=timedelta(seconds=-2)), Clock(now())
    with clock.shown(leased_work):
        answer = await sandbox.charge(charge)
        moment = await reports_at(db, charge)

    assert moment == whole_milliseconds(charge.hold_ends_at) + timedelta(seconds=3)
    assert await listener.receives(answer.reference) >= moment


async def test_a_duplicate_reports_twice_at_the_same_time(
    sandbox: SandboxGateway, listener: Listener, db: Database
) -> None:
    listener.together = asyncio.Barrier(2)
    answer = await sandbox.charge(a_charge("pm_card_duplicate"))

    await listener.receives(answer.reference, times=2)
    await eventually(lambda: delivered(db))


async def test_a_call_is_repeated_until_it_is_answered_well(
    sandbox: SandboxGateway, listener: Listener, db: Database
) -> None:
    listener.busy = 1
    answer = await sandbox.charge(a_charge("pm_card_slow"))

    await listener.receives(answer.reference)
    await eventually(lambda: delivered(db))
    assert listener.busy == 0


async def test_what_a_dead_process_had_to_report_is_reported_by_another_once(
    settings: PaymentsSettings, listener: Listener, db: Database
) -> None:
    def replica() -> AbstractAsyncContextManager[SandboxGateway]:
        return SandboxGateway.open(db.sandbox_charges, settings.webhook_secret.get_secret_value(), settings.webhook_url)

    async with replica() as dead:
        references = [(await dead.charge(a_charge("pm_card_late"))).reference for _ in range(20)]
    assert not listener.received

    async with replica() as one, replica() as other:
        for gateway in (one, other):  # A slow machine is no dead process.
            gateway._webhooks._first_lease, gateway._http.timeout = 60, httpx.Timeout(60)
        await db.sandbox_charges.update_many({}, {"$set": {"notify_at": now()}})
        await eventually(lambda: delivered(db))

    assert listener.received == dict.fromkeys(references, 1)


async def test_a_release_that_began_before_a_capture_does_not_undo_it(db: Database) -> None:
    ledger, began = SandboxLedger(db.charges), datetime.now(UTC)
    await ledger.add({"_id": "payment", "authorized_at": began})
    captured = await ledger.capture("payment", began + timedelta(milliseconds=5))

    assert await ledger.end("payment", "released", began) == captured
