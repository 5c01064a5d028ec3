"""A backup as one file: a tar, compressed and encrypted with age, a format that other programs read, too.

Who makes backups knows only the recipient, which is public, and cannot open them. `age-keygen` makes the pair.
"""

import tarfile
import tempfile
import zlib
from pathlib import Path

import pyrage

from infra.local.backup.archive import NoBackup, private


def seal(folder: Path, file: Path, recipient: str) -> None:
    """Write the content of `folder` to the new `file`, for the recipient (`age1...`). Raises `NoBackup`."""
    try:
        public = pyrage.x25519.Recipient.from_str(recipient)
    except pyrage.RecipientError:
        raise NoBackup(f"BACKUP_RECIPIENT is {recipient!r}, but should be a public key of age: age1...") from None
    with tempfile.TemporaryFile(dir=file.parent) as plain, private(file) as sealed:
        with tarfile.open(fileobj=plain, mode="w:gz", compresslevel=3) as tar:
            tar.add(folder, arcname=".")
        plain.seek(0)
        pyrage.encrypt_io(plain, sealed, [public])


def unseal(file: Path, folder: Path, identity: str) -> None:
    """Write the content of a sealed file into the new `folder`. Raises `NoBackup` if it is damaged, or not for us."""
    try:
        own = pyrage.x25519.Identity.from_str(identity.strip())
    except pyrage.IdentityError:
        raise NoBackup("BACKUP_IDENTITY should be a private key of age: AGE-SECRET-KEY-1...") from None
    folder.mkdir(mode=0o700)
    with tempfile.TemporaryFile(dir=folder.parent) as plain, file.open("rb") as sealed:
        try:
            pyrage.decrypt_io(sealed, plain, [own])
            plain.seek(0)
            with tarfile.open(fileobj=plain, mode="r:gz") as tar:
                tar.extractall(folder, filter="data")
        except (pyrage.DecryptError, tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise NoBackup(f"{file.name} cannot be opened: {error}") from error
