"""Static files: few and small, so they are read, hashed and compressed once, when the process starts."""

import gzip
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import brotli  # type: ignore[import-untyped]

STATIC = Path(__file__).parents[1] / "static"
LARGE = 200_000
"""Bytes from which the best compression would delay the start by seconds."""

_COMPRESSED = {".css", ".js", ".svg"}
_URL = re.compile(r"url\((?:\./)?([\w-]+\.woff2)\)")


class NotBuilt(RuntimeError):
    """The static files are missing: they are built by make."""


@dataclass(frozen=True)
class Asset:
    """A file under a name that changes with its content. `encoded` has its content by `Content-Encoding`."""

    name: str
    media_type: str
    plain: bytes
    encoded: Mapping[str, bytes]

    @classmethod
    def of(cls, path: Path, content: bytes) -> "Asset":
        """The asset of a file."""
        name = f"{path.stem}.{sha256(content).hexdigest()[:12]}{path.suffix}"
        encoded = {}
        if path.suffix in _COMPRESSED:
            quality = 11 if len(content) < LARGE else 5
            encoded = {"br": brotli.compress(content, quality=quality), "gzip": gzip.compress(content, mtime=0)}
        return cls(name, mimetypes.guess_type(path.name)[0] or "application/octet-stream", content, encoded)


class Assets:
    """All static files, by their plain names."""

    def __init__(self, folder: Path = STATIC) -> None:
        """Read the files. Raises `NotBuilt` if there are none."""
        files = sorted(folder.glob("[!.]*"), key=lambda path: path.suffix == ".css")
        if not files:
            raise NotBuilt(f"{folder} is empty: run `make dev` or `make test-web`")
        self._assets: dict[str, Asset] = {}
        for path in files:  # Style sheets come last: they contain the names of other files.
            self._assets[path.name] = Asset.of(path, self._with_names(path))
        self.by_name = {asset.name: asset for asset in self._assets.values()}

    def named(self, name: str) -> Asset:
        """A file by its plain name."""
        return self._assets[name]

    def url(self, name: str) -> str:
        """The address of a file. It changes with the file's content."""
        return f"/static/{self._assets[name].name}"

    def _with_names(self, path: Path) -> bytes:
        if path.suffix != ".css":
            return path.read_bytes()
        return _URL.sub(lambda match: f"url({self._assets[match[1]].name})", path.read_text()).encode()
