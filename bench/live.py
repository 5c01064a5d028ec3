"""`python -m bench.live`: many open live pages on one web process, through the gateway, with restarts.

Every page shows the same 24 items, like the front page. Prints the memory and CPU that web needs, and how long an order
takes to reach all pages: at first, after nats-server was killed, and after web was killed.
"""

import argparse
import asyncio
import os
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop

from infra.local.stack.stack import Stack
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

ITEMS = 24
LANGUAGES = ("en", "de", "en-GB")
LIMIT = 60.0
"""Seconds to wait for anything."""

_RETRY = re.compile(rb"^retry: (\d+)$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Page:
    """A browser's live page as the server sees it: one stream, reopened after the pause that the server asks for."""

    port: int
    path: str
    stock: re.Pattern[bytes]
    """Finds the available units of the item that is ordered."""
    language: str
    left: int | None = None
    at: float = 0.0
    """When `left` last changed."""
    opened: int = 0
    pause: float = 1.0

    async def stay(self) -> None:
        """Listen for ever. After each answer that is not a stream, wait longer, as souk.js does."""
        while True:
            try:
                await self._listen()
            except (OSError, EOFError, asyncio.LimitOverrunError):
                await asyncio.sleep(self.pause)
            else:
                await asyncio.sleep(self.pause * random.uniform(0.5, 1.5))
                self.pause = min(2 * self.pause, 15)

    async def _listen(self) -> None:
        """Read the stream until it breaks. Return after an answer that is not a stream."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(
                f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
                f"Accept-Language: {self.language}\r\n\r\n".encode()
            )
            if b" 200 " not in (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]:
                return
            self.opened += 1
            async for chunk in _chunks(reader):
                self._take(chunk)
            raise EOFError
        finally:
            writer.close()

    def _take(self, chunk: bytes) -> None:
        if asked := _RETRY.search(chunk):
            self.pause = int(asked[1]) / 1000
        if (news := self.stock.search(chunk)) and int(news[1]) != self.left:
            self.left, self.at = int(news[1]), time.perf_counter()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The chunks of a chunked body."""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]


@dataclass
class Market:
    """A running stack with the items that pages show. The first item is the one that is ordered."""

    stack: Stack
    client: httpx.AsyncClient
    tokens: Tokens
    item_ids: list[str]
    left: int

    @classmethod
    async def opened(cls, stack: Stack, client: httpx.AsyncClient) -> "Market":
        """List the items."""
        tokens, left = Tokens(stack.keys.private_key), 1_000
        body = {"title": "A lamp", "description": "It shines.", "price": 1250, "currency": "EUR", "quantity": left}
        headers = tokens.headers(person("Sella"))
        answers = [await client.post("/api/items", json=body, headers=headers) for _ in range(ITEMS)]
        return cls(stack, client, tokens, [answer.raise_for_status().json()["id"] for answer in answers], left)

    def page(self) -> Page:
        """A new page, not open yet."""
        path = "/live?" + "&".join(f"item={item_id}" for item_id in self.item_ids)
        stock = re.compile(rf'id=\\"stock-{self.item_ids[0]}\\" data-left=\\"(\d+)'.encode())
        return Page(self.stack.gateway.port, path, stock, random.choice(LANGUAGES))

    async def order(self) -> float:
        """Order one unit, as soon as orders accepts it. Return the time at which the accepted request was sent."""
        headers = self.tokens.headers(person("Bo"))

        async def taken() -> float | None:
            began = time.perf_counter()
            answer = await self.client.post("/api/orders", json={"item_id": self.item_ids[0]}, headers=headers)
            return began if answer.status_code == httpx.codes.CREATED else None

        began = await eventually(taken, LIMIT)
        self.left -= 1
        return began


@dataclass(frozen=True)
class Usage:
    """The CPU time and memory of a process at a moment."""

    at: float
    cpu: float
    """Seconds."""
    memory: float
    """Resident, in MB."""

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """The usage now. Linux only."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        return cls(time.perf_counter(), cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6)


def web(stack: Stack) -> Usage:
    """The usage of the web process."""
    return Usage.of(stack.supervisors["web"].child.pid or 0)


async def idle(stack: Stack, seconds: float) -> str:
    """Web's memory now, and its CPU over some idle seconds, as text."""
    before = web(stack)
    await asyncio.sleep(seconds)
    after = web(stack)
    share = (after.cpu - before.cpu) / (after.at - before.at)
    return f"memory {after.memory:6.1f} MB, CPU {share:6.2%} of a core over {seconds:.0f} s"


async def all_updated(pages: list[Page], left: int) -> None:
    """Wait until every page shows what is left."""

    async def updated() -> bool:
        return all(page.left == left for page in pages)

    await eventually(updated, LIMIT, why=f"only {sum(page.left == left for page in pages)} pages were updated")


async def reach(market: Market, pages: list[Page], words: str) -> None:
    """Order one unit, and print how long the pages took to show it."""
    before = web(market.stack)
    began = await market.order()
    await all_updated(pages, market.left)
    cpu = web(market.stack).cpu - before.cpu
    first, last = min(p.at for p in pages) - began, max(p.at for p in pages) - began
    print(
        f"{words:26s} an order reached all {len(pages)} pages: the first after {first * 1000:4.0f} ms, the last after"
        f" {last * 1000:5.0f} ms; CPU of web {cpu:.2f} s",
        flush=True,
    )


async def restart(market: Market, pages: list[Page], name: str) -> None:
    """Kill a process, and print how long the pages took to be back, and then to show an order."""
    streams = sum(page.opened for page in pages)
    began = time.perf_counter()
    await market.stack.kill(name)
    await market.stack.ready()
    print(f"{f'{name} was killed:':26s} everything was ready {time.perf_counter() - began:.1f} s later", flush=True)
    if name == "web":

        async def back() -> bool:
            return sum(page.opened for page in pages) >= streams + len(pages)

        await eventually(back, LIMIT)
        print(f"{'':26s} all pages were back {time.perf_counter() - began:.1f} s later", flush=True)
    await reach(market, pages, f"after {name} was killed,")


async def measure(stack: Stack, client: httpx.AsyncClient, count: int, seconds: float) -> None:
    """Run all measurements, and print them."""
    market = await Market.opened(stack, client)
    print(f"{'no page open:':26s} {await idle(stack, seconds)}", flush=True)
    pages = [market.page() for _ in range(count)]
    began = time.perf_counter()
    listening = [asyncio.create_task(page.stay()) for page in pages]
    try:
        await all_updated(pages, market.left)
        print(f"{f'{count} pages open:':26s} all after {time.perf_counter() - began:.1f} s", flush=True)
        print(f"{'':26s} {await idle(stack, seconds)}", flush=True)
        for _ in range(3):
            await reach(market, pages, "at rest,")
        await restart(market, pages, "nats")
        await restart(market, pages, "web")
        print(f"{'at the end:':26s} {await idle(stack, seconds)}", flush=True)
    finally:
        for task in listening:
            task.cancel()
        await asyncio.wait(listening)


async def main() -> None:
    """Measure a stack of its own."""
    parser = argparse.ArgumentParser(prog="bench.live", description=__doc__)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20, help="length of an idle measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with (
            Stack(Path(folder), say=lambda *_: None) as stack,
            httpx.AsyncClient(base_url=stack.url, timeout=30, trust_env=False) as client,
        ):
            await measure(stack, client, options.pages, options.seconds)


if __name__ == "__main__":
    uvloop.run(main())
