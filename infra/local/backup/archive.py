"""A backup on disk: files that only their owner can read, and a manifest with their checksums."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import AwareDatetime, BaseModel, ValidationError

from infra.servers.server import write_private

_BLOCK = 1 << 20
_EMPTY = bytes(_BLOCK)
_MANIFEST = "manifest.json"

Say = Callable[[str], None]
"""Takes a line about the progress."""


class NoBackup(RuntimeError):
    """A backup could not be made or cannot be used. The message says why, and what to do."""


class Manifest(BaseModel):
    """What a backup contains. It is written last: a folder without it is not a backup."""

    format: Literal[1] = 1
    taken_at: AwareDatetime
    mongod: str
    """Version of the server that wrote the database files."""
    nats: str
    streams: dict[str, dict[str, Any]]
    """`config` and `state` of each stream, by name."""
    databases: list[str] = []
    """Databases that are there as documents; without any, the files of the server are."""
    files: dict[str, str] = {}
    """SHA-256 of every file, by its path in the folder."""

    def seal(self, folder: Path) -> None:
        """Record every file of the folder, once it is safe on the disk, and write the manifest."""
        self.files = {str(file.relative_to(folder)): checksum(file) for file in files_in(folder)}
        write_private(folder / _MANIFEST, self.model_dump_json(indent=1))

    @classmethod
    def of(cls, folder: Path) -> "Manifest":
        """Read the manifest and check every file against it. Raises `NoBackup`."""
        try:
            manifest = cls.model_validate_json((folder / _MANIFEST).read_text())
        except FileNotFoundError:
            raise NoBackup(f"{folder} holds no finished backup: there is no {_MANIFEST} in it") from None
        except ValidationError as error:
            raise NoBackup(f"the manifest of {folder} cannot be read: {error}") from None
        for name, expected in manifest.files.items():
            if not (folder / name).is_file():
                raise NoBackup(f"the backup is damaged: {name} is missing from {folder}")
            if checksum(folder / name) != expected:
                raise NoBackup(f"the backup is damaged: {name} is not what it was when it was made")
        return manifest


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `target` at the end; after an error nothing is left of it.

    Raises `NoBackup` if `target` exists and is not an empty folder.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise NoBackup(f"{target} exists already, and nothing is written over it: name a new folder")
    making = target.with_name(f"{target.name}.partial")
    shutil.rmtree(making, ignore_errors=True)  # left behind by a process that was killed
    making.mkdir(mode=0o700, parents=True)
    try:
        yield making
        making.replace(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def private(file: Path) -> BinaryIO:
    """Open a new file for writing that only its owner can read."""
    file.touch(mode=0o600)
    return file.open("wb")


def files_in(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, sorted by path."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def copy_folder(source: Path, target: Path, without: tuple[str, ...] = ()) -> int:
    """Copy all files below `source` except those whose names begin with one of `without`; return the bytes written."""
    copied = 0
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(source.rglob("*")):
        if path.is_dir():
            (target / path.relative_to(source)).mkdir(mode=0o700)
        elif not path.name.startswith(without):
            copied += _copy(path, target / path.relative_to(source))
    return copied


def _copy(source: Path, target: Path) -> int:
    """Copy a file; blocks of zeros, which fill most of MongoDB's journal, take no space."""
    written = 0
    with source.open("rb") as old, private(target) as new:
        while block := old.read(_BLOCK):
            if _EMPTY.startswith(block):
                new.seek(len(block), os.SEEK_CUR)
            else:
                written += new.write(block)
        new.truncate()
    return written


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal, once its content is on the disk."""
    with file.open("rb") as content:
        os.fsync(content.fileno())
        return hashlib.file_digest(content, "sha256").hexdigest()
