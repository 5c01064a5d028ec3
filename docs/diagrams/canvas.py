"""Shapes of the diagrams: SVG in the colours of the site, which follow light and dark."""

from html import escape
from typing import Literal

Anchor = Literal["start", "middle", "end"]


class Canvas:
    """A drawing of `width` times `height` CSS pixels; shapes come on top of those drawn before."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._shapes: list[str] = []

    def add(self, svg: str) -> None:
        """Put a shape on top."""
        self._shapes.append(svg)

    def box(self, x: float, y: float, width: float, height: float, kind: str = "card", round_by: float = 12) -> None:
        """A rectangle with round corners."""
        self.add(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{round_by}"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: Anchor = "start") -> None:
        """A line of words; `y` is the middle of its height."""
        self.add(
            f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}" dominant-baseline="central">'
            f"{escape(words)}</text>"
        )

    def arrow(self, *points: tuple[float, float], kind: str = "arrow") -> None:
        """A line through the points with a head at the last one and round bends."""
        self.add(f'<path class="{kind}" marker-end="url(#head-{kind})" d="{_rounded(points)}"/>')

    def line(self, *points: tuple[float, float], kind: str = "arrow") -> None:
        """The same without a head."""
        self.add(f'<path class="{kind}" d="{_rounded(points)}"/>')

    def dot(self, x: float, y: float, radius: float, kind: str) -> None:
        """A circle."""
        self.add(f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}"/>')

    def store(self, x: float, y: float, width: float, height: float, words: str) -> None:
        """A database: a cylinder with its name."""
        lid = 7
        self.add(
            f'<path class="store" d="M{x} {y + lid} a{width / 2} {lid} 0 0 1 {width} 0 v{height - 2 * lid} '
            f'a{width / 2} {lid} 0 0 1 {-width} 0 z"/>'
            f'<path class="store" d="M{x} {y + lid} a{width / 2} {lid} 0 0 0 {width} 0"/>'
        )
        self.text(x + width / 2, y + height / 2 + lid / 2, words, "small strong", "middle")

    def ticket(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """The market's sign: a ticket with a notch on either side."""
        notch = height / 6
        side = f"v{height / 2 - notch - 4}"
        self.add(
            f'<path class="{kind}" d="M{x + 4} {y} h{width - 8} q4 0 4 4 {side} a{notch} {notch} 0 0 0 0 {2 * notch} '
            f"{side} q0 4 -4 4 h{8 - width} q-4 0 -4 -4 v{-(height / 2 - notch - 4)} "
            f'a{notch} {notch} 0 0 0 0 {-2 * notch} v{-(height / 2 - notch - 4)} q0 -4 4 -4 z"/>'
        )

    def svg(self, words: str) -> str:
        """The whole drawing; `words` describe it for people who cannot see it."""
        heads = "".join(
            f'<marker id="head-{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path class="head-{kind}" d="M0 0.5 10 5 0 9.5z"/></marker>'
            for kind in ("arrow", "faint", "hot", "dashed")
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" role="img" '
            f'aria-label="{escape(words)}"><defs>{heads}</defs>{"".join(self._shapes)}</svg>'
        )


def _rounded(points: tuple[tuple[float, float], ...], radius: float = 10) -> str:
    """The path through axis-parallel points, its bends drawn as quarter circles."""
    path = [f"M{points[0][0]} {points[0][1]}"]
    for before, bend, after in zip(points, points[1:], points[2:], strict=False):
        enter, leave = _towards(bend, before, radius), _towards(bend, after, radius)
        path.append(f"L{enter[0]} {enter[1]} Q{bend[0]} {bend[1]} {leave[0]} {leave[1]}")
    return " ".join([*path, f"L{points[-1][0]} {points[-1][1]}"])


def _towards(point: tuple[float, float], other: tuple[float, float], far: float) -> tuple[float, float]:
    length = max(abs(other[0] - point[0]) + abs(other[1] - point[1]), 1e-9)
    share = min(far / length, 0.5)
    return point[0] + (other[0] - point[0]) * share, point[1] + (other[1] - point[1]) * share
