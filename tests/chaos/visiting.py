"""What people do with their tickets: they give them away, keep copies, forge some, and stand at two gates at once."""

import asyncio
import re
from collections import defaultdict
from datetime import UTC, datetime

from tests.chaos.doors import SENT_AGAIN, Door, Gate, Shown
from tests.chaos.history import Json, Operation
from tests.chaos.market import Market
from tests.chaos.people import Person

LOOKS = 6
PAUSE = 0.3
"""How often somebody looks for a mail, and seconds between."""

MOST_PLANNED = 10
"""Orders whose tickets somebody may still use, the newest."""

GIVEN_AWAY, TAKEN_BACK = 0.6, 0.2
"""Share of tickets that are given away, and of those that are taken back before they are accepted."""

FORGED, KEPT, TYPED, LOST = 0.5, 0.6, 0.3, 0.1
"""Share of visits with a forged code, and with one of an earlier visit; of tickets of which somebody reads out the
number, and that are shown at the door of another event.
"""

OFFLINE = 0.6
"""Probability that a phone without a network scans it, too."""


class Visitor:
    """Goes to an event with the tickets of an order."""

    def __init__(self, person: Person, market: Market) -> None:
        self.person = person
        self._market = market
        self._devices: dict[str, str] = {}
        self._scans: dict[str, int] = defaultdict(int)
        self._orders: list[str] = []
        self._earlier: list[Shown] = []
        """What was shown on earlier visits."""

    def plan(self, order_id: str) -> None:
        """Want to go there once there are tickets."""
        self._orders.append(order_id)

    async def go(self) -> None:
        """Take a valid ticket of one of the orders, if there is any, and go to its door."""
        if not self._orders:
            return
        order_id = self.person.chance.choice(self._orders[-MOST_PLANNED:])
        listed = await self._list_tickets(order_id)
        rows = listed.body if listed.status == 200 else []
        valid = [row for row in rows if row["code"] and row["status"] == "valid"]
        if valid and valid[0]["item_id"] in self._market.doors:
            await self._visit(self.person.chance.choice(valid))

    async def _visit(self, ticket: Json) -> None:
        """Perhaps give the ticket away first. Then try all codes of it, a forged one, and one of an earlier visit."""
        chance = self.person.chance
        shown = [self._shown(one) for one in await self._copies(ticket)]
        if chance.random() < FORGED:
            shown.append(shown[-1].forge(chance))
        for one in shown:
            await self._hold_up(one)
        if self._earlier and chance.random() < KEPT:
            earlier = chance.choice(self._earlier)
            await self._list_tickets(earlier.ticket_id.partition("-")[0])  # It may have been refunded.
            await self._hold_up(earlier)
        self._earlier += shown

    def _shown(self, ticket: Json) -> Shown:
        return Shown.of(ticket, typed=self.person.chance.random() < TYPED)

    async def _copies(self, ticket: Json) -> list[Json]:
        """The ticket of each generation that somebody has a code of."""
        friend = self.person.chance.choice(self._market.crowd)
        if friend is self.person or self.person.chance.random() >= GIVEN_AWAY:
            return [ticket]
        accepted = await self._give(ticket, friend)
        return [ticket, accepted.body] if accepted and accepted.status == 200 else [ticket]

    async def _list_tickets(self, order_id: str) -> Operation:
        about = {"order_id": order_id}
        return await self.person.ask("list tickets", "GET", "/api/tickets", about, params=about)

    async def _give(self, ticket: Json, friend: Person) -> Operation | None:
        path, about = f"/api/tickets/{ticket['id']}/transfer", {"ticket_id": ticket["id"]}
        offered = await self.person.insist("offer ticket", "POST", path, about, body={"email": friend.email})
        if offered.status != 200 or (token := await self._token(ticket, friend)) is None:
            return None
        if self.person.chance.random() < TAKEN_BACK:
            taken = await self.person.insist("take back", "DELETE", path, about)
            about["taken_back"] = taken.status == 200
        async with friend.signed_in:
            return await friend.insist("accept ticket", "POST", "/api/tickets/accept", about, body={"token": token})

    async def _token(self, ticket: Json, friend: Person) -> str | None:
        """The token of the link in the mail to a friend."""
        for _ in range(LOOKS):
            for token in re.findall(r"/tickets/accept\?token=([\w.-]+)", await friend.mails()):
                if token.startswith(ticket["id"]):
                    return str(token)
            await asyncio.sleep(PAUSE)
        return None

    async def _hold_up(self, shown: Shown) -> None:
        """Show it at all gates at once, and to phones without a network before or afterwards; or to phones alone."""
        door = self._door(shown)
        way = self.person.chance.choice(("gates first", "phones first", "phones alone"))
        if way != "gates first":
            self._hold_up_offline(shown, door)
        if way != "phones alone":
            await asyncio.gather(*(self._scan(shown, gate) for gate in door.gates))
        if way == "gates first":
            self._hold_up_offline(shown, door)

    def _door(self, shown: Shown) -> Door:
        if self.person.chance.random() < LOST:
            return self.person.chance.choice(list(self._market.doors.values()))
        return self._market.doors[shown.item_id]

    def _hold_up_offline(self, shown: Shown, door: Door) -> None:
        for phone in door.phones:
            if self.person.chance.random() < OFFLINE:
                phone.scan(shown)

    async def _scan(self, shown: Shown, gate: Gate) -> None:
        device = self._devices.setdefault(gate.name, f"{self.person.name}-{self.person.chance.randrange(10**9)}")
        self._scans[device] += 1
        body = {"code": shown.text, "gate": gate.token, "device": device, "seq": self._scans[device]}
        body |= {"at": datetime.now(UTC).isoformat()}
        for _ in range(2 if self.person.chance.random() < SENT_AGAIN else 1):
            await self.person.insist("scan", "POST", "/api/tickets/scan", shown.at(gate), body=body)
