"""What becomes of an uploaded picture, without any server."""

import asyncio
from collections.abc import AsyncIterator
from threading import Event
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms

from common.errors import TooMany, Unavailable
from items import pictures
from items.pictures import BadPicture, PictureConverter, UnsupportedPicture, sizes_of

from .drawing import BLUE, KINDS, RED, bomb, encoded, flag, is_like, opened

PLACE = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)}


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_becomes_two_sizes_of_webp(kind: str) -> None:
    sizes = sizes_of(encoded(flag(2400, 1200), kind))

    for name, size in {"small": (480, 240), "medium": (960, 480), "large": (1600, 800)}.items():
        image = opened(sizes[name])
        assert (image.format, image.size, image.mode) == ("WEBP", size, "RGB")
        assert is_like(image, (0.1, 0.5), RED)
        assert is_like(image, (0.9, 0.5), BLUE)


@pytest.mark.parametrize(
    ("size", "small", "large"),
    [
        ((200, 100), (200, 100), (200, 100)),
        ((1, 1), (1, 1), (1, 1)),
        ((1000, 3000), (160, 480), (533, 1600)),
        ((3000, 1), (480, 1), (1600, 1)),
    ],
)
def test_a_picture_is_shrunk_but_never_enlarged(
    size: tuple[int, int], small: tuple[int, int], large: tuple[int, int]
) -> None:
    sizes = sizes_of(encoded(flag(*size), "PNG"))

    assert (opened(sizes["small"]).size, opened(sizes["large"]).size) == (small, large)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_learns_where_or_with_what_it_was_taken(kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Secret camera"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(PLACE)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more = {} if kind == "PNG" else {"xmp": b"<x:xmpmeta>Secret place</x:xmpmeta>"}
    upload = encoded(flag(), kind, exif=exif, icc_profile=profile, comment="Secret remark", **more)
    assert b"Secret camera" in upload
    assert opened(upload).getexif().get_ifd(ExifTags.IFD.GPSInfo)[2] == PLACE[2]

    for content in sizes_of(upload).values():
        image = opened(content)
        assert dict(image.getexif()) == {}
        assert image.info.keys().isdisjoint({"exif", "icc_profile", "xmp", "comment"})
        for trace in (b"Secret", b"EXIF", b"ICCP", b"XMP "):
            assert trace not in content


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (200, 100), (0.1, 0.5)),
        (3, (200, 100), (0.9, 0.5)),
        (6, (100, 200), (0.5, 0.1)),
        (8, (100, 200), (0.5, 0.9)),
    ],
)
def test_it_stands_upright(kind: str, orientation: int, size: tuple[int, int], red_at: tuple[float, float]) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation

    for content in sizes_of(encoded(flag(), kind, exif=exif)).values():
        assert opened(content).size == size
        assert is_like(opened(content), red_at, RED)


def test_what_is_transparent_stays_so() -> None:
    see_through = Image.new("RGBA", (100, 50), (*RED, 0))
    see_through.paste((*BLUE, 255), (50, 0, 100, 50))
    colour_key = encoded(see_through.convert("RGB"), "PNG", transparency=RED)
    palette = encoded(see_through.quantize(4), "PNG")

    for upload in (encoded(see_through, "PNG"), encoded(see_through, "WEBP"), colour_key, palette):
        for content in sizes_of(upload).values():
            image = opened(content)
            assert image.mode == "RGBA"
            assert image.getchannel("A").getextrema() == (0, 255)
            assert is_like(image, (0.9, 0.5), (*BLUE, 255))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_other_ways_to_say_colours_mean_the_same(mode: str) -> None:
    white: Any = {"I;16": 65535, "CMYK": (0, 0, 0, 0), "LA": (255, 255), "P": 1}.get(mode, 255)
    grey: Any = {"I;16": 0x8000, "CMYK": (0, 0, 0, 127), "LA": (128, 255), "P": 2, "1": 0}.get(mode, 128)
    image = Image.new(mode, (1000, 500), white)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 255, 255, 128, 128, 128])
    image.paste(Image.new(mode, (500, 500), grey), (0, 0))

    large = opened(sizes_of(encoded(image, "JPEG" if mode == "CMYK" else "PNG"))["large"]).convert("RGB")

    assert is_like(large, (0.2, 0.5), (0, 0, 0) if mode == "1" else (128, 128, 128))
    assert is_like(large, (0.8, 0.5), (255, 255, 255))


def test_colours_are_converted_from_the_profile_of_the_picture() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red_is_called_blue = srgb.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")

    large = opened(sizes_of(encoded(flag(), "PNG", icc_profile=red_is_called_blue))["large"])

    assert is_like(large, (0.9, 0.5), tuple(reversed(BLUE)))


@pytest.mark.parametrize("profile", [b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()])
def test_a_profile_that_does_not_fit_is_left_out(profile: bytes) -> None:
    large = opened(sizes_of(encoded(flag(), "JPEG", icc_profile=profile))["large"])

    assert is_like(large, (0.1, 0.5), RED)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_a_moving_picture_the_first_frame_stays(kind: str) -> None:
    second = Image.new("RGB", (200, 100), (0, 200, 0))
    upload = encoded(flag(), kind, save_all=True, append_images=[second], duration=100)
    assert getattr(opened(upload), "n_frames", 1) == 2

    for content in sizes_of(upload).values():
        image = opened(content)
        assert getattr(image, "n_frames", 1) == 1
        assert is_like(image, (0.1, 0.5), RED)


# Hostile


@pytest.mark.parametrize(
    "upload",
    [b"", b"a picture", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"RIFF1234WAVE", 8 * b"\x00"]
    + [encoded(flag(), kind) for kind in ("GIF", "BMP", "TIFF", "EPS")],
    ids=lambda upload: repr(upload[:8]),
)
def test_what_is_no_picture_of_the_three_kinds_is_refused(upload: bytes) -> None:
    with pytest.raises(UnsupportedPicture):
        sizes_of(upload)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_is_a_bad_picture_wherever_it_breaks(kind: str) -> None:
    whole = encoded(Image.effect_noise((300, 200), 50), kind)

    for length in (16, 40, len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4):
        with pytest.raises(BadPicture):
            sizes_of(whole[:length])


@pytest.mark.parametrize("start", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x10\x00\x00WEBPVP8 "])
def test_text_that_pretends_to_be_a_picture_is_a_bad_one(start: bytes) -> None:
    with pytest.raises(BadPicture):
        sizes_of(start + b"<script>alert(1)</script>" * 100)


@pytest.mark.parametrize(("width", "height"), [(5_001, 5_000), (60_000, 20_000), (25_000_001, 1)])
def test_a_small_file_with_too_many_pixels_is_never_decoded(width: int, height: int) -> None:
    upload = bomb(width, height)
    assert len(upload) < 200_000

    with pytest.raises(BadPicture):
        sizes_of(upload)


def test_a_jpeg_that_goes_over_its_pixels_again_and_again_is_never_decoded() -> None:
    upload = encoded(flag(), "JPEG", progressive=True)
    last = upload[upload.rindex(b"\xff\xda") : -2]

    assert sizes_of(upload[:-2] + 50 * last + upload[-2:])
    with pytest.raises(BadPicture, match="scans"):
        sizes_of(upload[:-2] + 100 * last + upload[-2:])


# The converter


async def whole(content: bytes) -> AsyncIterator[bytes]:
    """An upload that arrives at once."""
    yield content


async def test_more_pictures_than_can_be_converted_are_told_so_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = Event()
    monkeypatch.setattr(pictures, "sizes_of", lambda upload: sizes_of(upload) if go_on.wait(30) else {})

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    picture = encoded(flag(), "PNG")
    async with PictureConverter.running(backlog=2) as converter:
        waiting = [asyncio.create_task(converter.convert(u, "image/png", whole(picture))) for u in ("ada", "bob")]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await converter.convert("eve", "image/png", unread())
        go_on.set()
        await asyncio.gather(*waiting)
        assert await converter.convert("eve", "image/png; charset=binary", whole(picture)), "there is room again"


async def test_uploads_on_their_way_keep_nobody_from_being_converted() -> None:
    async def trickling() -> AsyncIterator[bytes]:
        yield b"\x89PNG"
        await asyncio.Event().wait()

    async with PictureConverter.running() as converter:
        trickles = [
            asyncio.create_task(converter.convert(f"account {n // 2}", "image/png", trickling())) for n in range(16)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await converter.convert("account 0", "image/png", trickling())
        assert await converter.convert("ada", "image/png", whole(encoded(flag(), "PNG")))
        for trickle in trickles:
            trickle.cancel()


async def test_an_upload_that_never_arrives_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "UPLOAD_TIMEOUT", 0.01)

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with PictureConverter.running() as converter:
        for _ in range(2 * pictures.PER_USER):
            with pytest.raises(BadPicture, match="did not arrive"):
                await converter.convert("eve", "image/png", never())


@pytest.mark.parametrize("kind", ["", "text/html", "image/gif", "image/svg+xml", "application/octet-stream"])
async def test_what_does_not_call_itself_a_picture_is_not_read(kind: str) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    async with PictureConverter.running() as converter:
        with pytest.raises(UnsupportedPicture):
            await converter.convert("eve", kind, unread())
