"""Backups in object storage: encrypted, read again, kept for as long as was said, and restored from there."""

import asyncio
import hashlib
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pyrage
import pytest
from pydantic import SecretStr

from infra.local.backup import object_store
from infra.local.backup.archive import Manifest, NoBackup
from infra.local.backup.object_store import ObjectStore, name_of, superfluous
from infra.local.backup.remote import RemoteEnv, fetched, send
from infra.local.backup.sealed import seal, unseal
from tests.local.test_backup import quietly
from tests.support.object_storage import BUCKET, SECRET, ObjectStorage, storage

__all__ = ["storage"]

NOW = datetime(2026, 11, 29, 12, 17, tzinfo=UTC)
PLACE = f"s3://{BUCKET}/souk"


def keys() -> RemoteEnv:
    """The settings of who makes and opens backups."""
    identity = pyrage.x25519.Identity.generate()
    return RemoteEnv(backup_recipient=str(identity.to_public()), backup_identity=SecretStr(str(identity)))


async def one_file(folder: Path) -> Manifest:
    """A backup with one file."""
    await asyncio.to_thread(folder.mkdir)
    (folder / "file").write_text("of a customer")
    manifest = Manifest(taken_at=datetime.now(UTC), mongod="8", nats="2", streams={})
    manifest.seal(folder)
    return manifest


def test_the_newest_of_each_day_and_week_is_kept_and_nothing_strange_is_touched() -> None:
    names = [name_of(NOW - timedelta(hours=6 * count)) for count in range(4 * 60)]
    kept = set(names) - set(superfluous([*names, "notes.txt", "2026-01-01T00-00-00Z.tar.gz"], daily=7, weekly=5))
    days = sorted({name[:10] for name in kept}, reverse=True)
    assert days == [
        *("2026-11-29", "2026-11-28", "2026-11-27", "2026-11-26", "2026-11-25", "2026-11-24", "2026-11-23"),
        *("2026-11-22", "2026-11-15", "2026-11-08", "2026-11-01"),  # Sundays: each is the last of its week
    ]
    assert kept >= set(names[:4])  # all of the last day
    assert name_of(datetime(2026, 11, 22, 18, 17, tzinfo=UTC)) in kept  # the newest of its day
    assert superfluous([], daily=7, weekly=5) == []


@pytest.mark.servers
async def test_a_backup_is_stored_so_that_only_the_identity_opens_it(storage: ObjectStorage, tmp_path: Path) -> None:
    env = keys()
    done = await asyncio.to_thread(send, env, PLACE, one_file)
    stored, checksum = sorted((storage.objects / BUCKET / "souk").iterdir())
    assert stored.name in done
    assert checksum.read_text() == f"{hashlib.sha256(stored.read_bytes()).hexdigest()}  {stored.name}\n"
    assert b"customer" not in stored.read_bytes()

    def read(who: RemoteEnv, place: str = PLACE) -> str:
        with fetched(who, place, quietly) as folder:
            Manifest.of(folder)
            return (folder / "file").read_text()

    assert await asyncio.to_thread(read, env) == "of a customer"
    assert await asyncio.to_thread(read, env, f"{PLACE}/{stored.name}") == "of a customer"
    with pytest.raises(NoBackup, match="cannot be opened: No matching keys"):
        await asyncio.to_thread(read, keys())
    with pytest.raises(NoBackup, match="BACKUP_IDENTITY"):
        await asyncio.to_thread(read, RemoteEnv())
    whole = stored.read_bytes()
    for damaged in (whole[:-20], whole[:100], bytes([*whole[:-20], whole[-20] ^ 1, *whole[-19:]])):
        stored.write_bytes(damaged)
        with pytest.raises(NoBackup, match=r"damaged: .* is not what was stored"):
            await asyncio.to_thread(read, env)


@pytest.mark.parametrize("length", [0, 100, -20, -(1 << 16)])
def test_what_ends_early_is_not_opened(tmp_path: Path, length: int) -> None:
    env = keys()
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup/file").write_bytes(os.urandom(1 << 18))
    sealed = tmp_path / "sealed"
    seal(tmp_path / "backup", sealed, str(env.backup_recipient))
    sealed.write_bytes(sealed.read_bytes()[:length])
    assert env.backup_identity
    with pytest.raises(NoBackup, match="cannot be opened"):
        unseal(sealed, tmp_path / "opened", env.backup_identity.get_secret_value())


@pytest.mark.servers
async def test_old_backups_go_only_once_a_newer_one_is_there(storage: ObjectStorage) -> None:
    folder = storage.objects / BUCKET / "souk"
    folder.mkdir()
    old = [name_of(datetime.now(UTC) - timedelta(days=count)) for count in range(2, 50)]
    interrupted = (
        name_of(datetime.now(UTC) - timedelta(hours=1)),
        name_of(datetime.now(UTC) - timedelta(days=2, hours=1)),
    )
    checksums = [f"{name}.sha256" for name in old]
    for name in [*old, *checksums, *interrupted, "notes.txt"]:
        (folder / name).touch()
    env = keys()

    async def nothing(_: Path) -> Manifest:
        raise NoBackup("no MongoDB answers")

    with pytest.raises(NoBackup, match="no MongoDB answers"):
        await asyncio.to_thread(send, env, PLACE, nothing)
    assert {file.name for file in folder.iterdir()} == {*old, *checksums, *interrupted, "notes.txt"}

    said = await asyncio.to_thread(send, env, PLACE, one_file)
    left = {file.name for file in folder.iterdir()}
    kept = ObjectStore(PLACE).names()
    assert left == {*kept, *(f"{name}.sha256" for name in kept), "notes.txt", interrupted[0]}
    assert len(kept) in range(10, 12)  # a week of days, and the weeks before it
    assert kept[0] > old[-1]
    assert interrupted[1] in said


@pytest.mark.servers
async def test_an_upload_that_was_interrupted_is_no_backup(storage: ObjectStorage, tmp_path: Path) -> None:
    env = keys()
    await asyncio.to_thread(send, env, PLACE, one_file)
    [good] = ObjectStore(PLACE).names()
    later = name_of(datetime.now(UTC) + timedelta(hours=1))
    boto3.client("s3").put_object(Bucket=BUCKET, Key=f"souk/{later}", Body=b"age-encryption.org/v1\n")

    def newest() -> str:
        said: list[str] = []
        with fetched(env, PLACE, said.append):
            return said[0]

    assert await asyncio.to_thread(newest) == f"reading {good}"
    with pytest.raises(NoBackup, match=f"no whole backup {later}"):
        await asyncio.to_thread(ObjectStore(PLACE).get, later, tmp_path / "got")


@pytest.mark.servers
async def test_a_storage_that_ends_meanwhile_has_the_old_backups_and_no_new_one(storage: ObjectStorage) -> None:
    await asyncio.to_thread(send, keys(), PLACE, one_file)
    before = ObjectStore(PLACE).names()
    loop = asyncio.get_running_loop()

    async def create(folder: Path) -> Manifest:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(storage.kill(), loop))
        return await one_file(folder)

    with pytest.raises(NoBackup, match="the object storage: "):
        await asyncio.to_thread(send, keys(), PLACE, create)
    await storage.start()
    assert ObjectStore(PLACE).names() == before


@pytest.mark.servers
async def test_a_storage_that_cannot_write_says_so(storage: ObjectStorage) -> None:
    (storage.objects / BUCKET / "souk").touch()  # where its folder should be: like a full disk, it fails at the write
    with pytest.raises(NoBackup, match="the object storage: Failed to upload"):
        await asyncio.to_thread(send, keys(), PLACE, one_file)


async def test_a_storage_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "ANSWER_SECONDS", 0.2)
    for name, value in {"ACCESS_KEY_ID": "souk", "SECRET_ACCESS_KEY": SECRET, "DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(NoBackup, match="the object storage: Read timeout"):
            await asyncio.to_thread(send, keys(), PLACE, one_file)


@pytest.mark.servers
async def test_what_the_storage_refuses_is_said_without_a_secret(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NoBackup, match="does not exist"):
        await asyncio.to_thread(send, keys(), "s3://another/souk", one_file)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-2")
    with pytest.raises(NoBackup, match="the object storage: ") as refused:
        await asyncio.to_thread(ObjectStore(PLACE).names)
    assert SECRET not in str(refused.value)
    assert "wrong-secret-2" not in str(refused.value)
    with pytest.raises(NoBackup, match="BACKUP_RECIPIENT"):
        await asyncio.to_thread(send, RemoteEnv(), PLACE, one_file)
