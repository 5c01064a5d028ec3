"""Pictures for the seeded catalogue: posters drawn by chance from a title, the same one for the same title."""

import math
import random
from collections.abc import Callable, Mapping
from io import BytesIO
from textwrap import wrap
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from infra.local.commands.catalogue import CONCERTS, FESTIVALS, SPORT, THEATRE, VINTAGE, WORKSHOPS, Kind

WIDTH, HEIGHT = 1280, 800
FINE = 2
"""Drawn so many times larger: Pillow draws hard edges, shrinking softens them."""


class Colours(NamedTuple):
    """From the dark of the ground to the light of the letters."""

    night: str
    dusk: str
    warm: str
    bright: str
    paper: str


PALETTES = (
    Colours("#1b1b3a", "#693668", "#e0533d", "#f7b32b", "#fff4e0"),
    Colours("#0b3c49", "#13808a", "#ef6f6c", "#ffd166", "#f6fff8"),
    Colours("#2d1e2f", "#a4303f", "#f2704f", "#f5c396", "#fdf3ea"),
    Colours("#12263a", "#2f6690", "#3fb8af", "#ffd25a", "#f4f9ff"),
    Colours("#1f2d1f", "#3f7d4e", "#d9a441", "#f3e37c", "#fbfaef"),
    Colours("#2b2140", "#5b4b9a", "#d65db1", "#ff9671", "#fff1f7"),
)

Pen = ImageDraw.ImageDraw
Motif = Callable[[Pen, random.Random, Colours, int, int], None]


def rings(pen: Pen, chance: random.Random, colours: Colours, width: int, height: int) -> None:
    """Sound that spreads."""
    x, y = width * chance.uniform(0.82, 0.92), height * chance.uniform(0.3, 0.75)
    inks = (colours.warm, colours.dusk, colours.bright, colours.night)
    for number in range(11, 0, -1):
        radius = number * height * 0.055
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=inks[number % 4])


def beams(pen: Pen, chance: random.Random, colours: Colours, width: int, height: int) -> None:
    """Light on a stage."""
    pen.rectangle((0, height * 0.86, width, height), fill=colours.night)
    for ink in (colours.dusk, colours.warm, colours.bright):
        top, foot = width * chance.uniform(0.55, 0.95), width * chance.uniform(0.6, 0.9)
        spread = width * chance.uniform(0.07, 0.14)
        pen.polygon([(top, -20), (foot - spread, height * 0.9), (foot + spread, height * 0.9)], fill=ink)
        pen.ellipse((foot - spread, height * 0.86, foot + spread, height * 0.94), fill=colours.paper)


def lanes(pen: Pen, chance: random.Random, colours: Colours, width: int, height: int) -> None:
    """The bend of a track."""
    x, y, band = width * 1.02, height * chance.choice((-0.05, 1.05)), height * 0.1
    for number, ink in enumerate((colours.dusk, colours.warm) * 3):
        radius = height * 0.86 - number * band
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink, outline=colours.paper, width=6 * FINE)
    runner = height * 0.06
    at, far = math.radians(215 if y < 0 else 145), height * 0.61
    x, y = x + far * math.cos(at), y - far * math.sin(at)
    pen.ellipse((x - runner, y - runner, x + runner, y + runner), fill=colours.bright)


def hills(pen: Pen, chance: random.Random, colours: Colours, width: int, height: int) -> None:
    """A sun over a meadow."""
    x, y, sun = width * chance.uniform(0.74, 0.86), height * chance.uniform(0.28, 0.4), height * 0.2
    pen.ellipse((x - sun, y - sun, x + sun, y + sun), fill=colours.bright)
    for number, ink in enumerate((colours.warm, colours.dusk, colours.night)):
        shift, base = chance.uniform(0, 6), height * (0.62 + 0.13 * number)
        line = [(x, base + height * 0.07 * math.sin(shift + x / width * 7)) for x in range(0, width + 1, 8)]
        pen.polygon([*line, (width, height), (0, height)], fill=ink)


def tiles(pen: Pen, chance: random.Random, colours: Colours, width: int, height: int) -> None:
    """Things cut and put together by hand."""
    side = height // 4
    inks = (colours.warm, colours.bright, colours.dusk, colours.paper, colours.night)
    for column, row in ((c, r) for c in range(4, 7) for r in range(4)):
        x, y = width - (7 - column) * side, row * side
        ground, ink = chance.sample(inks, 2)
        pen.rectangle((x, y, x + side, y + side), fill=ground)
        corner = chance.randrange(4)
        left, top = x - side * (corner % 2), y - side * (corner // 2)
        begin = (180, 270, 90, 0)[corner]
        pen.pieslice((left, top, left + 2 * side, top + 2 * side), begin, begin + 90, fill=ink)


def stripes(pen: Pen, chance: random.Random, colours: Colours, width: int, height: int) -> None:
    """A bend of colours from a carpet of the seventies."""
    x, y, band = width * chance.uniform(0.68, 0.8), height, height * 0.12
    for number, ink in enumerate((colours.dusk, colours.warm, colours.bright, colours.paper)):
        radius = height * 0.72 - number * band
        pen.pieslice((x - radius, y - radius, x + radius, y + radius), 180, 360, fill=ink)
    hole = height * 0.72 - 4 * band
    pen.pieslice((x - hole, y - hole, x + hole, y + hole), 180, 360, fill=colours.night)


MOTIFS: Mapping[Kind, Motif] = {
    CONCERTS: rings,
    THEATRE: beams,
    SPORT: lanes,
    FESTIVALS: hills,
    WORKSHOPS: tiles,
    VINTAGE: stripes,
}


def poster(kind: Kind, subject: str, title: str) -> bytes:
    """A JPEG of `WIDTH` by `HEIGHT`, with the subject of the title in large letters."""
    chance = random.Random(title)  # noqa: S311 - guards nothing, and must give the same every time
    width, height = WIDTH * FINE, HEIGHT * FINE
    colours = chance.choice(PALETTES)
    sky = Image.linear_gradient("L").resize((width, height))
    image = Image.composite(Image.new("RGB", sky.size, colours.dusk), Image.new("RGB", sky.size, colours.night), sky)
    pen = ImageDraw.Draw(image)
    MOTIFS[kind](pen, chance, colours, width, height)
    lines = wrap(subject, 11)
    widest = max(ImageFont.load_default(100).getlength(line) for line in lines)
    letters = ImageFont.load_default(min(112, 55_000 / widest) * FINE)
    at = (60 * FINE, 50 * FINE)
    pen.multiline_text(at, "\n".join(lines), colours.paper, letters, spacing=8 * FINE, stroke_width=2 * FINE)
    file = BytesIO()
    image.reduce(FINE).save(file, "JPEG", quality=90)
    return file.getvalue()
