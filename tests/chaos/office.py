"""Those who see to money that went astray: Souk's operator, who also works in the provider's dashboard."""

import asyncio
import subprocess
import sys
from contextlib import suppress

import httpx

from infra.servers.process import spawn
from infra.services import ROOT
from tests.chaos.history import Json
from tests.chaos.people import Person
from tests.chaos.world import World

DASHBOARD_TIMEOUT = 5.0
"""Seconds that the dashboard may take; what it was asked for may have happened without an answer."""


class Operator:
    """Retries and settles refunds that failed, refunds in the dashboard, and learns how disputes end."""

    def __init__(self, person: Person, provider_url: str, *, parts: bool) -> None:
        """With `parts`, some refunds in the dashboard are over a part of the money."""
        self.person = person
        self._parts = parts
        self._url = provider_url
        self._settled: set[str] = set()

    async def act(self) -> None:
        """Do one thing that an operator does, or that the bank of a buyer does."""
        acts = {self._look_at_trouble: 4, self._refund_in_the_dashboard: 2, self._dispute: 1}
        [act] = self.person.chance.choices(list(acts), list(acts.values()))
        await act()

    async def _look_at_trouble(self) -> None:
        """Deal with one payment in trouble. Some are left for later."""
        trouble = await self.person.ask("list trouble", "GET", "/api/payments/trouble", params={"limit": 50})
        rows = trouble.body["items"] if trouble.status == 200 else []
        if rows and self.person.chance.random() < 0.8:
            row = self.person.chance.choice(rows)
            await (self._end_dispute(row) if row["status"] == "disputed" else self._see_to_refund(row))

    async def _see_to_refund(self, payment: Json) -> None:
        """Make a failed refund again, or pay it by other means."""
        path, about = f"/api/payments/{payment['id']}/refund", {"payment_id": payment["id"]}
        if self.person.chance.random() < 0.6:
            await self.person.insist("retry refund", "POST", f"{path}/retry", about)
        else:
            self._settled.add(payment["id"])
            body = {"reason": "paid by bank transfer"}
            await self.person.insist("settle refund", "POST", f"{path}/settled", about, body=body)

    async def _end_dispute(self, payment: Json) -> None:
        await self._at_the_provider(payment["id"], f"dispute?outcome={self.person.chance.choice(('won', 'lost'))}")

    async def _refund_in_the_dashboard(self) -> None:
        """Refund a charge at the provider, or a part of it, without Souk. Never one that was paid by other means."""
        if (payment := self._charged()) and payment["id"] not in self._settled:
            part = self.person.chance.randint(1, max(1, payment["amount"] // 2))
            whole = not self._parts or self.person.chance.random() < 0.3
            await self._at_the_provider(payment["id"], "refund" if whole else f"refund?amount={part}")

    async def _dispute(self) -> None:
        """The bank of a buyer takes the money of a charge back."""
        if payment := self._charged():
            await self._at_the_provider(payment["id"], "dispute?outcome=open")

    def _charged(self) -> Json | None:
        """A payment that was answered with the news that it is captured."""
        charged = [o.body for o in self.person.history.of("pay") if o.status == 201]
        return self.person.chance.choice(charged) if charged else None

    async def _at_the_provider(self, payment: str, what: str) -> None:
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(timeout=DASHBOARD_TIMEOUT, trust_env=False) as http:
                await http.post(f"{self._url}/dashboard/{payment}/{what}")


async def grant(world: World, person: Person) -> None:
    """Make a person who has signed up an operator: the role comes with the next session."""
    command = [sys.executable, "-m", "auth.grant", person.email]
    granting = await spawn(command, environment=world.env("auth"), output=subprocess.DEVNULL, folder=ROOT)
    async with asyncio.timeout(60):
        assert await granting.wait() == 0
    await person.sign_in()
