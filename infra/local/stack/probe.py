"""Send a GET request to a local HTTP server and read only the head of its answer."""

import asyncio
import contextlib
from dataclasses import dataclass

_LIMIT_SECONDS = 2.0


@dataclass(frozen=True)
class Head:
    """Status and header names of an answer."""

    status: int
    headers: frozenset[str]


async def get(port: int, path: str) -> Head:
    """Return the head of the answer to `GET path` on 127.0.0.1. `OSError` without one within 2 seconds."""
    async with asyncio.timeout(_LIMIT_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return _parse(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the connection ended before the answer") from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _parse(head: bytes) -> Head:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    return Head(int(status_line.split()[1]), frozenset(line.partition(":")[0].lower() for line in lines if line))
