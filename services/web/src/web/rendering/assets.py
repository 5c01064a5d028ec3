"""Static files: few and small, so they are read, hashed and compressed once, at the start."""

import gzip
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import brotli  # type: ignore[import-untyped]
from fastapi import APIRouter, Request, Response

from common.errors import NotFound

STATIC = Path(__file__).parents[1] / "static"
FOR_EVER = "public, max-age=31536000, immutable"
_COMPRESSED = {".css", ".js", ".svg"}
_URL = re.compile(r"url\((?:\./)?([\w-]+\.woff2)\)")


class NotBuilt(RuntimeError):
    """The static files are made at build time, and were not."""


@dataclass(frozen=True)
class Asset:
    """A file under a name that changes with its content."""

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
            encoded = {"br": brotli.compress(content), "gzip": gzip.compress(content, mtime=0)}
        return cls(name, mimetypes.guess_type(path.name)[0] or "application/octet-stream", content, encoded)


class Assets:
    """Every static file, by its plain name."""

    def __init__(self, folder: Path = STATIC) -> None:
        """Raises `NotBuilt` where there is nothing."""
        files = sorted(folder.glob("[!.]*"), key=lambda path: path.suffix == ".css")
        if not files:
            raise NotBuilt(f"{folder} is empty: run `make dev` or `make test-web`")
        self._assets: dict[str, Asset] = {}
        for path in files:  # Style sheets come last: they name other files.
            self._assets[path.name] = Asset.of(path, self._with_names(path))
        self.by_name = {asset.name: asset for asset in self._assets.values()}

    def url(self, name: str) -> str:
        """The address of a file; changes with its content."""
        return f"/static/{self._assets[name].name}"

    def _with_names(self, path: Path) -> bytes:
        if path.suffix != ".css":
            return path.read_bytes()
        return _URL.sub(lambda match: f"url({self._assets[match[1]].name})", path.read_text()).encode()


router = APIRouter()


@router.get("/static/{name}")
async def static_file(name: str, request: Request) -> Response:
    """A static file, for ever."""
    assets: Assets = request.app.state.parts[Assets]
    if not (asset := assets.by_name.get(name)):
        raise NotFound("there is no such file")
    headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
    accepted = request.headers.get("accept-encoding", "")
    for encoding, content in asset.encoded.items():
        if encoding in accepted:
            return Response(content, media_type=asset.media_type, headers={**headers, "Content-Encoding": encoding})
    return Response(asset.plain, media_type=asset.media_type, headers=headers)
