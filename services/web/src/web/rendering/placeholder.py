"""The pattern that an item without a picture shows. The same item always has the same pattern."""

from functools import lru_cache
from hashlib import sha256

from markupsafe import Markup

HUES = 8
"""Pairs of colours in the style sheet: the classes `hue-0` to `hue-7`."""

_COLUMNS, _ROWS, _SIDE = 8, 5, 40
_TILES = (
    "M{x} {y}h40v40z",
    "M{x} {y}v40h40z",
    "M{x} {y}h40a40 40 0 0 1-40 40z",
    "M{r} {b}h-40a40 40 0 0 1 40-40z",
    "M{cx} {y}a20 20 0 0 1 0 40a20 20 0 0 1 0-40z",
    "M{x} {y}h20v20h-20zM{cx} {cy}h20v20h-20z",
)


@lru_cache(maxsize=2_000)
def placeholder(key: str) -> Markup:
    """An inline SVG of tiles, chosen by the hash of `key`. The style sheet has the colours."""
    dice = sha256(key.encode()).digest()
    shapes = []
    for number in range(_COLUMNS * _ROWS):
        roll = dice[number % 32] ^ (number * 37 & 0xFF)
        if roll % 8 >= len(_TILES):
            continue
        x, y = number % _COLUMNS * _SIDE, number // _COLUMNS * _SIDE
        half = _SIDE // 2
        shapes.append(_TILES[roll % 8].format(x=x, y=y, r=x + _SIDE, b=y + _SIDE, cx=x + half, cy=y + half))
    return Markup(  # noqa: S704 - numbers only  # nosec B704
        f'<svg class="placeholder hue-{dice[0] % HUES}" viewBox="0 0 320 200" preserveAspectRatio="xMidYMid slice" '
        f'aria-hidden="true" focusable="false"><path d="{"".join(shapes)}"/></svg>'
    )
