"""A load generator that costs little beside what it measures: raw HTTP/1.1 on kept connections, closed loop."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Request = bytes


@dataclass(frozen=True)
class Result:
    """What a run came to: answers by status, seconds, and the time of each answer in seconds, ascending.

    `cpu` are the seconds of CPU that the process took which answered.
    """

    statuses: Counter[int]
    seconds: float
    times: list[float]
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds

    @property
    def cpu_each(self) -> float:
        """Microseconds of CPU per answer: a machine that is busy with other things disturbs them little."""
        return self.cpu / len(self.times) * 1_000_000

    def quantile(self, part: float) -> float:
        """The time within which this part of the answers came, in milliseconds."""
        return self.times[min(int(len(self.times) * part), len(self.times) - 1)] * 1000


def cpu_seconds(pid: int) -> float:
    """The seconds of CPU that a process has taken so far (Linux only)."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def request(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Request:
    """The bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}"]
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def load(port: int, make: Callable[[], Request], seconds: float, connections: int = 32) -> Result:
    """`connections` clients, each asking again as soon as it is answered, for `seconds`."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(make())
            head = await reader.readuntil(b"\r\n\r\n")
            lowered = head.lower()
            at = lowered.index(b"content-length:") + 15
            await reader.readexactly(int(lowered[at : lowered.index(b"\r\n", at)]))
            statuses[int(head[9:12])] += 1
            times.append(time.perf_counter() - began)
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return Result(statuses, time.perf_counter() - began, sorted(times))
