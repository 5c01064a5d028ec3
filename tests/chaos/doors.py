"""The doors of events, and phones that have no network there: they keep what they scan, and send it later."""

import asyncio
import json
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.order_numbers import as_typed, new_check, readable_number
from tests.chaos.history import Json
from tests.chaos.people import Person
from tests.support.sessions import Tokens
from tickets.codes import Claim, TicketCodes

GATES = ("North", "South", "Yard")

ONLINE = 2
"""Gates whose people ask the server: the first ones."""

WRONG = timedelta(minutes=5)
"""How wrong the clock of a phone without a network is, at most. Nothing sets it right."""

CARELESS = 0.25
"""Share of phones that let in whoever shows them anything."""

SENT_AGAIN = 0.2
"""Share of scans that are sent once more although they were answered."""

MOST_SENT = 5
"""Scans that are sent together: few, so that a fault finds some sent and others not."""


@dataclass(frozen=True)
class Shown:
    """What somebody holds up at a door: a code, or the number of a ticket that they read out.

    A `forged` one was made from a real ticket. `number` is the one of the ticket's holder in that generation.
    """

    text: str
    ticket_id: str
    item_id: str
    generation: int
    number: str
    forged: bool = False

    @classmethod
    def of(cls, ticket: Json, *, typed: bool) -> Self:
        """A ticket as its holder shows it."""
        text = ticket["number"] if typed else ticket["code"]
        names = ("item_id", "generation", "number")
        return cls(text=text, ticket_id=ticket["id"], **{name: ticket[name] for name in names})

    def forge(self, chance: random.Random) -> Self:
        """What a forger makes of it: another number, the same code with another letter, or one of another key."""
        if len(self.text) < 100:
            number = "-".join(self.number.split("-")[:3])
            return replace(self, text=f"{number}-{new_check()}", forged=True)
        if chance.random() < 0.5:
            at = chance.randrange(len(self.text) - 1)  # The last letter has a bit that says nothing.
            other = "A" if self.text[at] != "A" else "B"
            return replace(self, text=f"{self.text[:at]}{other}{self.text[at + 1 :]}", forged=True)
        order, _, unit = self.ticket_id.partition("-")
        claim = Claim(order, int(unit), self.item_id, self.generation + 1)
        return replace(self, text=_code_of_nobody(claim), forged=True)

    def at(self, gate: "Gate") -> Json:
        """What the history says of it, once it was shown at this gate."""
        about = {"ticket_id": self.ticket_id, "generation": self.generation, "number": self.number}
        where = {"item_id": gate.item_id, "gate_name": gate.name, "elsewhere": gate.item_id != self.item_id}
        return {**about, **where, "forged": self.forged}


def _code_of_nobody(claim: Claim) -> str:
    return TicketCodes(Tokens(Ed25519PrivateKey.generate()).private_pem).code(claim)


@dataclass(frozen=True)
class Gate:
    """A gate of an event; `token` is in its link."""

    item_id: str
    name: str
    token: str


@dataclass
class Phone:
    """A phone at a gate without a network. It numbers its scans from 1, and judges by the newest list that it has."""

    gate: Gate
    device: str
    clock: timedelta
    careless: bool
    kept: list[tuple[Json, Json]] = field(default_factory=list)
    """Scans that were not sent yet: each with what the history says of it."""
    _seq: int = 0
    _list: Json | None = None
    _codes: TicketCodes | None = None
    _let_in: dict[str, int] = field(default_factory=dict)
    """The generation of the code that was let in here, by ticket."""

    @property
    def has_list(self) -> bool:
        """Whether it can judge."""
        return self._list is not None

    @classmethod
    def at(cls, gate: Gate, chance: random.Random) -> Self:
        """A phone at this gate."""
        device = f"phone-{chance.randrange(10**9)}"
        return cls(gate, device, chance.uniform(-1, 1) * WRONG, careless=chance.random() < CARELESS)

    def take(self, listed: Json) -> None:
        """Take a list of the event's tickets, as the server has signed it."""
        keys = [{"kty": "OKP", "crv": "Ed25519", "x": key.rstrip("=")} for key in listed["keys"].values()]
        own = Tokens(Ed25519PrivateKey.generate()).private_pem  # It signs nothing.
        self._codes = TicketCodes(own, json.dumps({"keys": keys}))
        self._list = json.loads(listed["content"])

    def scan(self, shown: Shown) -> None:
        """Let somebody in or turn them away, and keep that. A phone that never had a list does not scan."""
        if self._list is None:
            return
        admitted = self.careless or self._admits(shown.text)
        self._seq += 1
        made = {"code": shown.text, "gate": self.gate.token, "device": self.device, "seq": self._seq}
        made |= {"at": (datetime.now(UTC) + self.clock).isoformat(), "admitted": admitted, "list_at": self._list["at"]}
        self.kept.append((made, shown.at(self.gate)))

    def _admits(self, text: str) -> bool:
        """As the page of a gate decides it (services/web/assets/gate-door.js)."""
        if (claim := self._claim(text)) is None:
            return False
        ticket, item_id, generation = claim
        listed = self._tickets.get(ticket, {"status": "valid", "generation": 0})  # Not listed: sold since then.
        let_in = self._let_in.get(ticket, 0) >= generation or listed["status"] != "valid"
        if let_in or item_id != self.gate.item_id or generation < listed["generation"]:
            return False
        self._let_in[ticket] = generation
        return True

    def _claim(self, text: str) -> tuple[str, str, int] | None:
        assert self._codes
        if claim := self._codes.read(text):
            return f"{claim.order_id}-{claim.unit}", claim.item_id, claim.generation
        if typed := as_typed(text):
            number, unit, check = typed
            for ticket_id, listed in self._tickets.items():
                checks = ["", *listed.get("checks", ())]
                order_id, _, of = ticket_id.partition("-")
                if (readable_number(order_id), of) == (number, str(unit)) and check in checks:
                    return ticket_id, self.gate.item_id, checks.index(check) + 1
        return None

    @property
    def _tickets(self) -> dict[str, Json]:
        return {one["id"]: one for one in self._list["tickets"]} if self._list else {}


@dataclass
class Door:
    """The door of an event: gates whose people ask the server, and phones that cannot."""

    gates: list[Gate] = field(default_factory=list)
    phones: list[Phone] = field(default_factory=list)


class Doorkeeper:
    """Carries the phones to where there is a network, one at a time. Has no account."""

    def __init__(self, person: Person, doors: dict[str, Door]) -> None:
        """`doors` by event; there will be more."""
        self.person = person
        self._doors = doors

    async def act(self) -> None:
        """Send a part of what a phone has kept, and fetch it a list."""
        if phones := [phone for door in self._doors.values() for phone in door.phones]:
            waiting = [phone for phone in phones if phone.kept or not phone.has_list]
            phone = self.person.chance.choice(waiting or phones)
            if self.person.chance.random() < 0.7:
                await self._send(phone)
            await self._fetch_list(phone)

    async def finish(self) -> None:
        """Send all that all phones have kept."""
        for door in self._doors.values():
            for phone in door.phones:
                while phone.kept and await self._send(phone):
                    pass

    async def _fetch_list(self, phone: Phone) -> None:
        body, about = {"gate": phone.gate.token}, {"item_id": phone.gate.item_id}
        listed = await self.person.ask("fetch list", "POST", "/api/tickets/gates/list", about, body=body)
        if listed.status == 200:
            phone.take(listed.body)

    async def _send(self, phone: Phone) -> bool:
        """Send the oldest scans until they are answered. Whether they were."""
        some = phone.kept[:MOST_SENT]
        if not some:
            return True
        body = {"scans": [made for made, _ in some]}
        about = {"item_id": phone.gate.item_id, "shown": [shown for _, shown in some]}
        times = 2 if self.person.chance.random() < SENT_AGAIN else 1
        asked = (self.person.insist("send scans", "POST", "/api/tickets/scans", about, body=body) for _ in range(times))
        answers = await asyncio.gather(*asked)
        if all(answer.status != 200 for answer in answers):
            return False
        del phone.kept[: len(some)]
        return True
