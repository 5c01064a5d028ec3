"""A backup goes to object storage as one encrypted file, and comes back from there."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.local.backup.archive import Manifest, NoBackup, Say
from infra.local.backup.object_store import SCHEME, ObjectStore, name_of
from infra.local.backup.sealed import seal, unseal

_SUFFIX = ".age"


class RemoteEnv(BaseSettings):
    """Who may open a backup in object storage, and how long it is kept."""

    model_config = SettingsConfigDict(env_ignore_empty=True, populate_by_name=True)

    backup_recipient: str | None = None
    """The public key of age that backups are encrypted for."""
    backup_identity: SecretStr | None = None
    """The private key that opens them; who only makes backups has none."""
    keep_daily: Annotated[int, Field(ge=1)] = 7
    keep_weekly: Annotated[int, Field(ge=1)] = 5


def is_remote(place: str) -> bool:
    """Return whether a place is in object storage."""
    return place.startswith(SCHEME)


def send(env: RemoteEnv, to: str, create: Callable[[Path], Coroutine[Any, Any, Manifest]]) -> str:
    """Create a backup, store it below `to`, remove what is superfluous, and return what was done. Raises `NoBackup`."""
    if env.backup_recipient is None:
        raise NoBackup("for whom is the backup encrypted? Name the public key of age with BACKUP_RECIPIENT=age1...")
    store = ObjectStore(to)
    store.names()  # what refuses us does it before anybody waits
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "sealed"
        manifest = asyncio.run(create(Path(scratch) / "backup"))
        seal(Path(scratch) / "backup", file, env.backup_recipient)
        name = name_of(manifest.taken_at)
        store.put(file, name)
        size = file.stat().st_size
    gone = store.prune(manifest.taken_at, env.keep_daily, env.keep_weekly)
    removed = f"; removed {', '.join(gone)}" if gone else ""
    return f"ready: {to.rstrip('/')}/{name} ({size / 1e6:.1f} MB), read again and found the same{removed}"


@contextmanager
def fetched(env: RemoteEnv, source: str, say: Say) -> Iterator[Path]:
    """Yield the folder of a backup: a copy, if it is in object storage. Raises `NoBackup`."""
    if not is_remote(source):
        yield Path(source).resolve()
        return
    if env.backup_identity is None:
        raise NoBackup("which key opens the backup? Name the private key of age: BACKUP_IDENTITY=AGE-SECRET-KEY-1...")
    folder, _, name = source.rpartition("/") if source.endswith(_SUFFIX) else (source, "", "")
    store = ObjectStore(folder)
    if not name:
        if not (names := store.names()):
            raise NoBackup(f"there is no backup in {folder}")
        name = names[-1]
    say(f"reading {name}")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "sealed"
        store.get(name, file)
        unseal(file, Path(scratch) / "backup", env.backup_identity.get_secret_value())
        yield Path(scratch) / "backup"
