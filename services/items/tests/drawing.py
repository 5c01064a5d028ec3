"""Pictures for tests, drawn with Pillow."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

KINDS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
RED, BLUE = (220, 30, 30), (30, 60, 200)


def flag(width: int = 200, height: int = 100) -> Image.Image:
    """The left half red, the right half blue."""
    image = Image.new("RGB", (width, height), RED)
    ImageDraw.Draw(image).rectangle((width // 2, 0, width, height), BLUE)
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """As a file."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    """Back from a file, decoded."""
    image = Image.open(BytesIO(content))
    image.load()
    return image


def is_like(image: Image.Image, at: tuple[float, float], colour: tuple[int, ...]) -> bool:
    """Whether the pixel at a place (from 0 to 1) has about this colour."""
    found = image.getpixel((int(at[0] * image.width), int(at[1] * image.height)))
    assert isinstance(found, tuple)
    return len(found) == len(colour) and all(abs(a - b) < 12 for a, b in zip(found, colour, strict=True))


def bomb(width: int, height: int) -> bytes:
    """A small PNG of that many black pixels."""
    rows = zlib.compressobj(9)
    content = b"".join(rows.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
