"""Backups in object storage that speaks S3: one encrypted file each, named after its moment, and how long it is kept.

Where it is and who asks come from the standard variables: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.local.backup.archive import NoBackup

SCHEME = "s3://"

ANSWER_SECONDS = 60.0
"""How long the storage may be silent."""

TRIES = 3

_NAME = "%Y-%m-%dT%H-%M-%SZ.tar.gz.age"
_CHECKSUM = ".sha256"
_BLOCK = 1 << 20


def name_of(taken_at: datetime) -> str:
    """Return the name of a backup of this moment."""
    return taken_at.astimezone(UTC).strftime(_NAME)


def superfluous(names: Iterable[str], daily: int, weekly: int) -> list[str]:
    """Return which of these backups need not be kept, by their names; what has another name is nobody's to remove.

    Kept are those of the last day before the newest, and the newest of each of the last `daily` days and of each of the
    last `weekly` weeks that have one.
    """
    moments = sorted(((moment, name) for name in names if (moment := _moment(name))), reverse=True)
    if not moments:
        return []
    days = {moment.date(): name for moment, name in reversed(moments)}
    weeks = {moment.isocalendar()[:2]: name for moment, name in reversed(moments)}
    kept = {name for moment, name in moments if moment > moments[0][0] - timedelta(days=1)}
    kept |= {days[day] for day in sorted(days, reverse=True)[:daily]}
    kept |= {weeks[week] for week in sorted(weeks, reverse=True)[:weekly]}
    return [name for _, name in moments if name not in kept]


def _moment(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


class ObjectStore:
    """The backups below an address `s3://bucket/folder`. Every call raises `NoBackup` if the storage refuses it.

    Beside each backup is its checksum, as `sha256sum --check` reads it. It is written last, once the backup was read
    again: what has none was interrupted, and counts as no backup.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._bucket = parts.netloc
        self._folder = f"{parts.path.strip('/')}/".lstrip("/")
        config = Config(
            connect_timeout=ANSWER_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"mode": "standard", "total_max_attempts": TRIES},
            # Checksums that only some servers know are left out: ours is beside the backup.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with _refusals():
            self._client = boto3.Session().client("s3", config=config)

    def names(self) -> list[str]:
        """Return the names of all whole backups, the oldest first."""
        return _whole(self._keys())

    def put(self, file: Path, name: str) -> None:
        """Store a file, and read it again. Raises `NoBackup` if the storage has anything else."""
        with file.open("rb") as sent:
            checksum = hashlib.file_digest(sent, "sha256").hexdigest()
        with _refusals():
            self._client.upload_file(str(file), self._bucket, self._folder + name)
            stored = hashlib.sha256()
            for block in self._object(name).iter_chunks(_BLOCK):
                stored.update(block)
            if stored.hexdigest() != checksum:
                raise NoBackup(f"what the storage has under {name} is not what was sent")
            line = f"{checksum}  {name}\n".encode()
            self._client.put_object(Bucket=self._bucket, Key=self._folder + name + _CHECKSUM, Body=line)

    def get(self, name: str, file: Path) -> None:
        """Write a stored backup to the new `file`. Raises `NoBackup` if it is not what was stored."""
        if name not in self.names():
            raise NoBackup(f"there is no whole backup {name}: it, or its checksum {name}{_CHECKSUM}, is missing")
        with _refusals():
            checksum = self._object(name + _CHECKSUM).read().decode(errors="replace").partition(" ")[0]
            self._client.download_file(self._bucket, self._folder + name, str(file))
        with file.open("rb") as got:
            if hashlib.file_digest(got, "sha256").hexdigest() != checksum:
                raise NoBackup(f"the backup is damaged: {name} is not what was stored")

    def prune(self, newest: datetime, daily: int, weekly: int) -> list[str]:
        """Remove and return what is superfluous and older than the backup of `newest`, which was just stored.

        What was interrupted more than a day before it is removed, too.
        """
        keys = self._keys()
        whole = _whole(keys)
        gone = [name for name in superfluous(whole, daily, weekly) if name < name_of(newest)]
        limit = newest - timedelta(days=1)
        gone += [key for key in keys if key not in whole and (moment := _moment(key)) and moment < limit]
        with _refusals():
            for name in gone:  # the checksum first: a removal that is interrupted leaves nothing that counts
                for key in (name + _CHECKSUM, name):
                    self._client.delete_object(Bucket=self._bucket, Key=self._folder + key)
        return gone

    def _keys(self) -> list[str]:
        with _refusals():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._folder)
            return [one["Key"].removeprefix(self._folder) for page in pages for one in page.get("Contents", [])]

    def _object(self, key: str) -> Any:
        return self._client.get_object(Bucket=self._bucket, Key=self._folder + key)["Body"]


def _whole(keys: Iterable[str]) -> list[str]:
    known = set(keys)
    return sorted(key for key in known if _moment(key) and key + _CHECKSUM in known)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError) as error:
        raise NoBackup(f"the object storage: {error}") from error
