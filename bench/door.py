"""`python -m bench.door`: 10,000 tickets at 20 gates through the gateway, three in ten of them without a network.

With a network, people come at a fixed rate, and a time counts from when somebody came (no coordinated omission); with
`--rate 0` each gate scans the next one as soon as the last is answered.

Some tickets are copied and held in front of two gates, and some codes are forged. Those without one judge as their page
does: by the signature, and by whom they have let in themselves. Their clocks are up to five minutes wrong. Half of them
send what they did while the others scan. Prints how fast gates are answered, and what the event's door names.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.load import cpu_seconds, request
from common.ids import new_id
from common.mongo.client import database
from common.outbox import write_of
from infra.local.stack.stack import Stack
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually
from tickets.codes import Claim, TicketCodes
from tickets.domain import Booking, Sale

GATES = 20
OFFLINE = 6
"""Gates without a network."""

UNITS = 2
"""Tickets of an order."""

BATCH = 100
"""Scans that a gate sends together, as its page does."""

WRONG = timedelta(minutes=5)
"""How wrong a clock is at most."""

SENT = timedelta(minutes=30)
"""How long ago the first scans without a network were made."""


@dataclass
class Gate:
    """A phone at a gate, and whom it has let in."""

    number: int
    token: str
    port: int
    codes: list[str] = field(default_factory=list)
    let_in: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    async def work(self, every: float, first: float) -> None:
        """Scan one code after the other, one `every` so many seconds from `first` seconds on, or as soon as it can."""
        connection = await asyncio.open_connection("127.0.0.1", self.port)
        start = time.perf_counter() + first
        for seq, code in enumerate(self.codes, 1):
            came = start + every * seq if every else time.perf_counter()
            await asyncio.sleep(came - time.perf_counter())
            said = await _asked(connection, "/api/tickets/scan", self._scan(code, seq, datetime.now(UTC)))
            self.times.append(time.perf_counter() - came)
            self.answers[said["result"]] += 1
            if said["result"] == "admitted":
                self.let_in.append(code)
        connection[1].close()

    async def send(self, codes: TicketCodes, item_id: str, chance: random.Random) -> float:
        """Do the same alone, then send it; return when the last answer came."""
        wrong, step = chance.uniform(-1, 1) * WRONG, SENT / len(self.codes)
        scans = []
        for seq, code in enumerate(self.codes, 1):
            claim = codes.read(code)
            good = claim is not None and claim.item_id == item_id and code not in self.let_in
            if good:
                self.let_in.append(code)
            at = datetime.now(UTC) - SENT + step * seq + wrong
            scans.append(self._scan(code, seq, at) | {"admitted": good})
        connection = await asyncio.open_connection("127.0.0.1", self.port)
        for first in range(0, len(scans), BATCH):
            await _asked(connection, "/api/tickets/scans", {"scans": scans[first : first + BATCH]})
        connection[1].close()
        return time.perf_counter()

    def _scan(self, code: str, seq: int, at: datetime) -> dict[str, Any]:
        return {"code": code, "gate": self.token, "device": f"phone {self.number}", "seq": seq, "at": at.isoformat()}


async def _asked(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str, body: Any) -> Any:
    reader, writer = connection
    writer.write(request("POST", path, body))
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + 15
    content = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"{path} answered {head[9:12].decode()}: {content[:200].decode()}")
    return json.loads(content)


async def sold(stack: Stack, item_id: str, seller_id: str, count: int, codes: TicketCodes) -> list[str]:
    """Store so many tickets of the event, and return their codes."""
    writes, made = [], []
    for _ in range(count // UNITS):
        booking = Booking(id=new_id())
        details = {"seller_id": seller_id, "item_id": item_id, "item_title": "A concert", "payment_id": new_id()}
        booking.issue(Sale(buyer_id=new_id(), quantity=UNITS, **details))
        writes.append(write_of(booking, []))
        made += [codes.code(Claim(booking.id, ticket.unit, item_id, 1)) for ticket in booking.tickets]
    async with database(stack.mongo_url("tickets")) as db:
        await db.bookings.bulk_write(writes, ordered=False)
    return made


def handed_out(made: Sequence[str], copies: int, forged: int, chance: random.Random) -> list[str]:
    """Every code once, some twice, and some that nobody has made."""
    other = TicketCodes(Tokens(Ed25519PrivateKey.generate()).private_pem)
    false = [other.code(Claim(new_id(), 1, new_id(), 1)) for _ in range(forged // 2)]
    false += [code[:-8] + code[:8] for code in chance.sample(list(made), forged - len(false))]
    shown = [*made, *chance.sample(list(made), copies), *false]
    chance.shuffle(shown)
    return shown


def processes(stack: Stack) -> dict[str, int]:
    """What a scan makes work, by name."""
    names = ("tickets", "mongod", "nats", "gateway", "audit", "notifications")
    return {name: pid for name in names if (pid := stack.supervisors[name].child.pid)}


async def measure(stack: Stack, client: httpx.AsyncClient, count: int, copies: int, forged: int, rate: float) -> None:
    """Run it and print the figures."""
    chance, seller = random.Random(1), person("Sella")
    client.headers.update(Tokens(stack.keys.private_key).headers(seller))
    concert = {"title": "A concert", "description": "", "price": 900, "currency": "EUR", "kind": "event"}
    event = {**concert, "quantity": count, "starts_at": "2027-05-01T18:00:00Z", "timezone": "UTC"}
    item_id = (await client.post("/api/items", json=event)).raise_for_status().json()["id"]

    async def known() -> bool:
        return (await client.get("/api/tickets/gates", params={"item_id": item_id})).status_code == 200

    await eventually(known, 60, why="tickets knows the event")
    port, codes = int(str(client.base_url.port)), TicketCodes(stack.keys.ticket_pem)
    made = await sold(stack, item_id, seller.id, count, codes)
    gates = []
    for number in range(GATES):
        answer = await client.post("/api/tickets/gates", json={"item_id": item_id, "name": f"Gate {number}"})
        gates.append(Gate(number, answer.raise_for_status().json()["token"], port))
    shown = handed_out(made, copies, forged, chance)
    for number, gate in enumerate(gates):
        gate.codes = shown[number::GATES]
    alone, online = gates[:OFFLINE], gates[OFFLINE:]

    began, cpu = time.perf_counter(), {name: cpu_seconds(pid) for name, pid in processes(stack).items()}
    sending = [asyncio.create_task(gate.send(codes, item_id, chance)) for gate in alone[: OFFLINE // 2]]
    every = len(online) / rate if rate else 0.0
    await asyncio.gather(*(gate.work(every, every * nth / len(online)) for nth, gate in enumerate(online)))
    seconds = time.perf_counter() - began
    spent = {name: cpu_seconds(pid) - cpu[name] for name, pid in processes(stack).items()}
    sending += [asyncio.create_task(gate.send(codes, item_id, chance)) for gate in alone[OFFLINE // 2 :]]
    last = max(await asyncio.gather(*sending))

    let_in = Counter(code for gate in gates for code in gate.let_in)
    expected = sum(times - 1 for times in let_in.values())

    async def named() -> bool:
        door = (await client.get("/api/tickets/gates", params={"item_id": item_id})).raise_for_status().json()
        return bool(len(door["extras"]) == expected and door["admitted"] == len(let_in))

    await eventually(named, 60, why=f"{expected} extra admissions are named")
    reported = time.perf_counter() - last
    twice = sum(times > 1 for times in Counter(code for gate in online for code in gate.let_in).values())
    took = sorted(one for gate in online for one in gate.times)
    print(f"{len(made)} tickets, {copies} copied, {forged} codes forged; {GATES} gates, {OFFLINE} without a network")
    print(f"online: {len(took)} scans, {len(took) / seconds:.0f}/s, p50 {took[len(took) // 2] * 1000:.1f} ms, "
          f"p99 {took[len(took) * 99 // 100] * 1000:.1f} ms")  # fmt: skip
    sent = len(took) + sum(len(gate.codes) for gate in alone[: OFFLINE // 2])
    each = ", ".join(f"{name} {used / sent * 1_000_000:.0f}" for name, used in spent.items())
    print(f"CPU of a scan, microseconds, meanwhile {sent} with those sent: {each}")
    print(f"admitted twice online: {twice}; forged and admitted: {len(let_in.keys() - set(made))}")
    print(f"admitted twice with a gate that could not ask: {expected}, all named {reported:.1f} s after the last sent")


async def main() -> None:
    """Measure a stack of its own."""
    parser = argparse.ArgumentParser(prog="bench.door", description=__doc__)
    parser.add_argument("--tickets", type=int, default=10_000)
    parser.add_argument("--copies", type=int, default=500)
    parser.add_argument("--forged", type=int, default=500)
    parser.add_argument("--rate", type=float, default=300, help="people a second who come to gates with a network")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with (
            Stack(Path(folder), say=lambda *_: None) as stack,
            httpx.AsyncClient(base_url=stack.url, timeout=60, trust_env=False) as client,
        ):
            await measure(stack, client, options.tickets, options.copies, options.forged, options.rate)


if __name__ == "__main__":
    uvloop.run(main())
