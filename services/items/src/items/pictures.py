"""Converts an uploaded picture to three WebP files: upright, in sRGB, without any metadata of the upload."""

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO

from PIL import Image, ImageCms, ImageOps

from common.errors import Invalid, Unavailable, Unsupported
from common.places import Places

KINDS = ("image/jpeg", "image/png", "image/webp")
FORMATS = ("JPEG", "PNG", "WEBP")
FIRST_BYTES = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP", re.DOTALL)

LARGE, MEDIUM, SMALL = 1600, 960, 480
"""Pixels of the longer side, at most."""

QUALITY = 80
MOST_PIXELS = 25_000_000
"""Decoding a WebP of this size takes 420 MB, a JPEG less than 300."""
MOST_SCANS = 100
"""Scans of a JPEG; each decodes all its pixels. An encoder makes about ten; a hostile file can have 500,000."""

THREADS = 1
BACKLOG = 16
"""Pictures that are being converted or wait for it."""
ARRIVING = 128
"""Uploads in progress. They arrive on the disk, so that one that trickles takes nothing from the others."""
IN_MEMORY = 64 * 1024
"""Bytes of an upload that are kept in memory before it goes to the disk."""
PER_USER = 2
"""Uploads in progress of one user."""

UPLOAD_TIMEOUT = 60.0
"""Seconds for an upload to arrive."""

Sizes = Mapping[str, bytes]
"""A picture as WebP files, `small`, `medium` and `large`."""


class UnsupportedPicture(Unsupported):
    """The upload is not a JPEG, PNG or WebP, or is not declared as one."""

    code = "unsupported_picture"


class BadPicture(Invalid):
    """The upload starts like a picture, but can't be decoded within the limits."""

    code = "bad_picture"


class PictureConverter:
    """Converts pictures in a separate thread: one takes up to a second of a core. Made by `running`."""

    def __init__(self, pool: ThreadPoolExecutor, backlog: int) -> None:
        self._pool = pool
        self._backlog = backlog
        self._places = Places(PER_USER, ARRIVING)
        self._converting = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, backlog: int = BACKLOG) -> AsyncIterator["PictureConverter"]:
        """With `backlog` pictures to convert, the next upload gets `Unavailable`, before it is read if it can be."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="pictures") as pool:
            yield cls(pool, backlog)

    async def convert(self, user_id: str, kind: str, upload: AsyncIterable[bytes]) -> Sizes:
        """The sizes of a user's upload of media type `kind`. It is read once the user has a place for it.

        Raises `UnsupportedPicture`, `BadPicture`, `TooMany`, `Unavailable`.
        """
        if kind.partition(";")[0].strip().lower() not in KINDS:
            raise UnsupportedPicture(f"a picture has one of the types {', '.join(KINDS)}")
        self._check_room()
        with self._places.taken_by(user_id), SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            try:
                async with asyncio.timeout(UPLOAD_TIMEOUT):
                    async for chunk in upload:
                        file.write(chunk)
            except TimeoutError:
                raise BadPicture(f"the picture did not arrive within {UPLOAD_TIMEOUT:.0f} seconds") from None
            file.seek(0)
            return await self._sizes(file)

    async def _sizes(self, file: IO[bytes]) -> Sizes:
        self._check_room()
        self._converting += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(lambda: sizes_of(file.read())))
        finally:
            self._converting -= 1

    def _check_room(self) -> None:
        if self._converting >= self._backlog:
            raise Unavailable("too many pictures are being converted right now; try again in a moment")


def sizes_of(upload: bytes) -> Sizes:
    """The sizes of a picture, of its first frame if it is animated. Raises `UnsupportedPicture`, `BadPicture`."""
    if not FIRST_BYTES.match(upload):
        raise UnsupportedPicture("this is not a JPEG, PNG or WebP picture")
    try:
        large = _large(upload)
        smaller = {"small": _within(SMALL, large), "medium": _within(MEDIUM, large)}
        return {name: _webp(image) for name, image in {**smaller, "large": large}.items()}
    except BadPicture:
        raise
    except Exception as error:  # A parser of hostile bytes may raise anything.
        raise BadPicture("this picture can't be decoded; save it again as JPEG, PNG or WebP") from error


def _large(upload: bytes) -> Image.Image:
    if upload.startswith(b"\xff\xd8") and upload.count(b"\xff\xda") > MOST_SCANS:
        raise BadPicture(f"this picture has more than {MOST_SCANS} scans")
    with Image.open(BytesIO(upload), formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise BadPicture(f"a picture may have at most {MOST_PIXELS // 1_000_000} megapixels")
        image = _scalable(opened)
        image.thumbnail((LARGE, LARGE))  # First, because the rest is cheaper then.
        return _in_srgb(ImageOps.exif_transpose(image))


def _within(side: int, image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.thumbnail((side, side))
    return copy


def _scalable(image: Image.Image) -> Image.Image:
    """Without a palette, a transparent colour or 16 bits of grey, none of which can be averaged."""
    if image.mode.startswith("I"):
        return image.point(lambda grey: grey / 256).convert("L")
    if image.mode in {"1", "P", "PA"} or "transparency" in image.info:
        return image.convert(_mode(image))
    return image


def _in_srgb(image: Image.Image) -> Image.Image:
    if profile := image.info.get("icc_profile"):
        try:
            converted = ImageCms.profileToProfile(
                image, BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode=_mode(image)
            )
        except (ImageCms.PyCMSError, OSError):
            pass  # The profile is broken or does not fit the picture: ignore it.
        else:
            assert converted is not None  # noqa: S101 - not in place
            return converted
    return image.convert(_mode(image))


def _mode(image: Image.Image) -> str:
    return "RGBA" if image.has_transparency_data else "RGB"


def _webp(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "WEBP", quality=QUALITY)
    return file.getvalue()
