"""What people do with their tickets: they give them away, keep a copy, and stand at two gates at once."""

import asyncio
import re
from datetime import UTC, datetime

from tests.chaos.history import Json, Operation
from tests.chaos.market import Market
from tests.chaos.people import Person

LOOKS = 6
PAUSE = 0.3
"""Seconds between two looks for a mail, or for the tickets of an order."""


class Visitor:
    """Goes to an event with the tickets of an order."""

    def __init__(self, person: Person, market: Market) -> None:
        self.person = person
        self._market = market
        self._scans = 0

    async def visit(self, order_id: str) -> None:
        """Take one of the tickets; perhaps give it away first. Then try every code of it, at both gates at once."""
        ticket = await self._ticket(order_id)
        gates = self._market.gates.get(ticket["item_id"], []) if ticket else []
        if ticket is None or not gates:
            return
        shown = [ticket]
        friend = self.person.chance.choice(self._market.crowd)
        if friend is not self.person and self.person.chance.random() < 0.6:
            accepted = await self._give(ticket, friend)
            if accepted and accepted.status == 200:
                shown.append(accepted.body)
        for one in shown:
            await asyncio.gather(*(self._scan(one, gate) for gate in gates))

    async def _ticket(self, order_id: str) -> Json | None:
        """A valid ticket of an order that is its buyer's."""
        for _ in range(LOOKS):
            path, params = "/api/tickets", {"order_id": order_id}
            listed = await self.person.ask("list tickets", "GET", path, {"order_id": order_id}, params=params)
            own = [one for one in listed.body if one["code"]] if listed.status == 200 else []
            if own:
                valid = [one for one in own if one["status"] == "valid"]
                return self.person.chance.choice(valid) if valid else None
            await asyncio.sleep(PAUSE)
        return None

    async def _give(self, ticket: Json, friend: Person) -> Operation | None:
        path = f"/api/tickets/{ticket['id']}/transfer"
        about = {"ticket_id": ticket["id"]}
        offered = await self.person.insist("offer ticket", "POST", path, about, body={"email": friend.email})
        if offered.status != 200:
            return None
        for _ in range(LOOKS):
            for token in re.findall(r"/tickets/accept\?token=([\w.-]+)", await friend.mails()):
                if token.startswith(ticket["id"]):
                    body = {"token": token}
                    async with friend.signed_in:
                        return await friend.insist("accept ticket", "POST", "/api/tickets/accept", about, body=body)
            await asyncio.sleep(PAUSE)
        return None

    async def _scan(self, ticket: Json, gate: str) -> Operation:
        self._scans += 1
        device = f"{self.person.name}-{self.person.chance.randrange(10**9)}"
        body = {"code": ticket["code"], "gate": gate, "device": device, "seq": self._scans}
        about = {"ticket_id": ticket["id"], "generation": ticket["generation"]}
        body |= {"at": datetime.now(UTC).isoformat()}
        return await self.person.insist("scan", "POST", "/api/tickets/scan", about, body=body)
