"""Web and a service as they run on a cluster: both listen with TLS, and web makes sure whom it calls."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from infra.local.stack.program import Program
from infra.local.stack.stack import Stack
from infra.servers.process import free_port
from infra.services import service_command
from tests.support.certificates import Authority
from tests.support.people import People
from tests.support.shopping import sell
from tests.support.waiting import eventually
from web.settings import ADDRESSES

HERE = "127.0.0.1"


class Encrypted(Program):
    """Another process of a service of the stack, with a certificate."""

    def __init__(self, stack: Stack, name: str, folder: Path, more: Mapping[str, str]) -> None:
        port = free_port()
        shown = {"TLS_CERT_FILE": str(folder / "tls.crt"), "TLS_KEY_FILE": str(folder / "tls.key")}
        env = {**stack.env(name), "HOST": HERE, "PORT": str(port), **shown, **more}
        super().__init__(f"{name}-encrypted", folder, port, service_command(name), env, lambda *_: None)

    async def answers(self) -> bool:
        _, writer = await asyncio.open_connection(HERE, self.port)
        writer.close()
        return True


@pytest_asyncio.fixture
async def certificates(tmp_path: Path) -> Path:
    """The folder with the certificates of web and items, and their authority."""
    return tmp_path


@pytest_asyncio.fixture
async def authority(certificates: Path) -> Authority:
    """The authority that web believes."""
    made = Authority()
    for name in ("web", "items"):
        made.issue(certificates / name, HERE)
    return made


@pytest_asyncio.fixture
async def visitor(stack: Stack, authority: Authority, certificates: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who opens pages of a web that calls items by TLS."""
    trusted = certificates / "web/ca.crt"
    async with AsyncExitStack() as exits:
        items = Encrypted(stack, "items", certificates / "items", {})
        called = {name.upper(): f"https://{HERE}:{items.port}" for name in ADDRESSES}
        web = Encrypted(stack, "web", certificates / "web", {**called, "SERVICES_CA_FILE": str(trusted)})
        for program in (items, web):
            exits.push_async_callback(program.stop)
            await program.start()
        trust = ssl.create_default_context(cafile=trusted)
        client = httpx.AsyncClient(base_url=f"https://{HERE}:{web.port}", timeout=30, verify=trust, trust_env=False)
        yield await exits.enter_async_context(client)


@pytest.mark.prove
async def test_web_shows_what_a_service_says_only_while_that_is_the_service(
    people: People, visitor: httpx.AsyncClient, authority: Authority, certificates: Path
) -> None:
    seller = await people.new("Sela")
    page = f"/items/{await sell(seller, 3, 'Encrypted lamp')}"

    async def shown() -> bool:
        return "Encrypted lamp" in (await visitor.get(page)).text

    async def refused() -> bool:
        """A connection that is open stays so until it has been idle for three seconds."""
        await asyncio.sleep(4)
        return (await visitor.get(page)).status_code == 503

    await eventually(shown, 30)
    for stranger, name in ((Authority(), HERE), (authority, "orders")):
        stranger.issue(certificates / "items", name)
        await eventually(refused, 60, why="web believes anybody")
        authority.issue(certificates / "items", HERE)
        await eventually(shown, 30, why="web believes nobody any more")
