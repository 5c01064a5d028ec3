"""Backups in object storage that speaks S3: one encrypted file each, named after its moment, and how long it is kept.

Where it is and who asks come from the standard variables: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.local.backup.archive import NoBackup, private

SCHEME = "s3://"

_NAME = "%Y-%m-%dT%H-%M-%SZ.tar.gz.age"
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
    """The backups below an address `s3://bucket/folder`. Every call raises `NoBackup` if the storage refuses it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._bucket = parts.netloc
        self._folder = f"{parts.path.strip('/')}/".lstrip("/")
        # Checksums that only some servers know are left out: what was written is read again and compared.
        config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        with _refusals():
            self._client = boto3.Session().client("s3", config=config)

    def names(self) -> list[str]:
        """Return the names of all backups, the oldest first."""
        with _refusals():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._folder)
            keys = [one["Key"].removeprefix(self._folder) for page in pages for one in page.get("Contents", [])]
        return sorted(key for key in keys if _moment(key))

    def put(self, file: Path, name: str) -> None:
        """Store a file, and read it again. Raises `NoBackup` if the storage has anything else."""
        with _refusals():
            self._client.upload_file(str(file), self._bucket, self._folder + name)
            stored = hashlib.sha256()
            content = self._client.get_object(Bucket=self._bucket, Key=self._folder + name)["Body"]
            for block in content.iter_chunks(_BLOCK):
                stored.update(block)
        with file.open("rb") as sent:
            if hashlib.file_digest(sent, "sha256").digest() != stored.digest():
                raise NoBackup(f"what the storage has under {name} is not what was sent")

    def get(self, name: str, file: Path) -> None:
        """Write a stored backup to the new `file`."""
        with _refusals(), private(file) as content:
            self._client.download_fileobj(self._bucket, self._folder + name, content)

    def prune(self, newest: str, daily: int, weekly: int) -> list[str]:
        """Remove and return what is superfluous and older than `newest`, which the caller has just stored."""
        gone = [name for name in superfluous(self.names(), daily, weekly) if name < newest]
        with _refusals():
            for name in gone:
                self._client.delete_object(Bucket=self._bucket, Key=self._folder + name)
        return gone


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError) as error:
        raise NoBackup(f"the object storage: {error}") from error
