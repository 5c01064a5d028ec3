"""Where the bus is, as `nats.connect` takes it: addresses in one URL, with commas between them.

`tls://host:4222?tlsCAFile=/path/ca.crt` is a bus that is reached by TLS only. `tlsCAFile` names the
authority that must have signed its certificate, as in a URL of MongoDB; without it that is one that the system trusts.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import nats
from nats.aio.client import Client

CA_FILE = "tlsCAFile"


class WrongAddress(ValueError):
    """The URL cannot be used. The message says why, without the password."""


def address(url: str) -> dict[str, Any]:
    """The arguments of `nats.connect` that say where the bus is. Raises `WrongAddress`, and `OSError` without the file.

    With TLS, the client begins with it and waits for nothing that comes in the clear. Otherwise it would let whoever is
    between the two say "without TLS", and then send them its password.
    """
    parts = [urlsplit(one) for one in url.split(",")]
    if {one.scheme for one in parts} != {"tls"}:
        if any(one.scheme == "tls" or one.query for one in parts):
            raise WrongAddress(f"each address of a bus with TLS begins with tls://, and only it has a {CA_FILE}")
        return {"servers": url.split(",")}
    servers = [one._replace(query="").geturl() for one in parts]
    return {"servers": servers, "tls": _trusting({one.query for one in parts}), "tls_handshake_first": True}


@asynccontextmanager
async def connected_to(url: str, name: str) -> AsyncIterator[Client]:
    """Connect without reconnecting, as a program called `name`: when the connection breaks, so does what it is for."""
    client = await nats.connect(
        **address(url), name=name, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_ignore
    )
    try:
        yield client
    finally:
        await client.close()


async def _ignore(_: Exception) -> None:
    """Errors are also raised by the call that caused them."""


def _trusting(queries: set[str]) -> ssl.SSLContext:
    """What checks the certificates of all servers of a bus."""
    if len(queries) != 1:
        raise WrongAddress(f"all addresses of a bus have the same {CA_FILE}")
    options = parse_qs(queries.pop(), keep_blank_values=True)
    if set(options) - {CA_FILE}:
        raise WrongAddress(f"an address of the bus has no option but {CA_FILE}")
    return ssl.create_default_context(cadata=Path(options[CA_FILE][-1]).read_text() if options else None)
