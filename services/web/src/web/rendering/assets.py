"""Static files: few and small, so they are read and hashed when the process starts, and kept.

Compressing them all takes most of a second of CPU, so each is compressed for the first who asks for it.
"""

import asyncio
import gzip
import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import brotli  # type: ignore[import-untyped]

STATIC = Path(__file__).parents[1] / "static"
LARGE = 200_000
"""Bytes from which the best compression would take seconds."""

_COMPRESSED = {".css", ".js", ".svg"}
_ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "br": lambda content: brotli.compress(content, quality=11 if len(content) < LARGE else 5),
    "gzip": lambda content: gzip.compress(content, mtime=0),
}
_URL = re.compile(r"url\((?:\./)?([\w-]+\.woff2)\)")


class NotBuilt(RuntimeError):
    """The static files are missing: they are built by make."""


@dataclass(frozen=True)
class Asset:
    """A file under a name that changes with its content."""

    name: str
    media_type: str
    plain: bytes
    encodings: tuple[str, ...]
    """Each `Content-Encoding` that makes it smaller, the best one first."""
    _encoded: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, path: Path, content: bytes) -> "Asset":
        """The asset of a file."""
        name = f"{path.stem}.{sha256(content).hexdigest()[:12]}{path.suffix}"
        encodings = tuple(_ENCODINGS) if path.suffix in _COMPRESSED else ()
        return cls(name, mimetypes.guess_type(path.name)[0] or "application/octet-stream", content, encodings)

    async def encoded(self, encoding: str) -> bytes:
        """Its content in one of its `encodings`. Whoever is the first to ask waits for it, and nobody else does."""
        if encoding not in self._encoded:
            self._encoded[encoding] = await asyncio.to_thread(_ENCODINGS[encoding], self.plain)
        return self._encoded[encoding]


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
