"""A mongod becomes a replica set of one."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from common.mongo.replica_set import prepare
from infra.servers.mongo import MongoServer
from tests.support.waiting import eventually


class Bare(MongoServer):
    """A mongod without a replica set."""

    async def answers(self) -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        await writer.wait_closed()
        return True


@pytest.mark.servers
async def test_a_bare_server_becomes_a_replica_set_with_its_users(tmp_path: Path) -> None:
    server = Bare(tmp_path, users={})
    await server.start()
    try:
        async with server.administrator() as client:
            await eventually(lambda: prepare(client, "rs0", f"127.0.0.1:{server.port}", {"orders": "secret"}))
            [user] = (await client["orders"].command("usersInfo"))["users"]
            assert user["roles"] == [{"role": "readWrite", "db": "orders"}]
    finally:
        await server.stop()


def test_a_key_file_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "key"
    command = [sys.executable, "-m", "common.mongo.replica_set", "key"]

    subprocess.run(command, check=True, env={**os.environ, "KEY_FILE": str(file)})  # noqa: S603
    made = file.read_text()
    subprocess.run(command, check=True, env={**os.environ, "KEY_FILE": str(file)})  # noqa: S603

    assert made == file.read_text()
    assert len(made) > 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
