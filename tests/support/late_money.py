"""Banks that agree after the hold of an order has ended, and exactly when a test wants it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from common.clock import now
from common.mongo.client import database
from infra.local.stack.stack import Stack
from tests.support.shopping import Json


@asynccontextmanager
async def bank_waiting(stack: Stack, payment: Json) -> AsyncIterator[None]:
    """Inside, the bank of a payment that comes late has not agreed yet. It does on leaving."""
    await _let_agree(stack, payment, now() + timedelta(hours=1))
    yield
    await _let_agree(stack, payment, now())


async def _let_agree(stack: Stack, payment: Json, moment: datetime) -> None:
    async with database(stack.mongo_url("payments")) as db:
        charge = await db.sandbox_charges.find_one({"_id": payment["id"]}) or {}
        agreed_at = "authorized_at" if "authorized_at" in charge else "captured_at"
        await db.sandbox_charges.update_one({"_id": payment["id"]}, {"$set": {agreed_at: moment, "notify_at": moment}})
