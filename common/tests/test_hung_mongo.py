"""A call ends in time, whatever the server does not do: also that for which a connection has to be made first."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from common.mongo.client import AWAY, database
from infra.servers.mongo import MongoServer
from tests.support.certificates import Authority
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

LIMIT = 20
"""Seconds in which a call has to be over that has one second."""


class EncryptedMongo(MongoServer):
    """A mongod with TLS, for clients that want it."""

    def command(self) -> Sequence[str | Path]:
        files = Authority().issue(self.folder / "tls", "127.0.0.1")
        tls = (f"--tlsCertificateKeyFile={files / 'tls.pem'}", f"--tlsCAFile={files / 'ca.crt'}")
        return [*super().command(), "--tlsMode=preferTLS", "--tlsAllowConnectionsWithoutCertificates", *tls]

    @property
    def encrypted_url(self) -> str:
        return f"{self.url_for('shelves')}&tls=true&tlsCAFile={self.folder / 'tls' / 'ca.crt'}"


@pytest.fixture
async def mongo(tmp_path: Path) -> AsyncIterator[EncryptedMongo]:
    server = EncryptedMongo(tmp_path)
    await server.start()
    yield server
    server.send(signal.SIGCONT)
    await server.stop()


async def test_a_call_does_not_wait_for_a_handshake_with_a_process_that_hangs(mongo: EncryptedMongo) -> None:
    async with database(f"{mongo.encrypted_url}&serverMonitoringMode=poll", timeout=1) as db:
        await db.client.aconnect()
        await eventually(lambda: db.client.primary)
        mongo.send(signal.SIGSTOP)  # Connections are still accepted, by the kernel.

        with pytest.raises(AWAY):
            async with asyncio.timeout(LIMIT):
                await db.shelves.find_one()


async def test_a_client_closes_although_the_server_hangs(mongo: EncryptedMongo) -> None:
    async with asyncio.timeout(LIMIT):
        async with database(mongo.encrypted_url, timeout=1) as db:
            await db.shelves.find_one()
            mongo.send(signal.SIGSTOP)
