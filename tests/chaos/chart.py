"""The chart of a run: answers per second, and the faults at the time. SVG, light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tests.chaos.faults import FaultResult
from tests.chaos.history import AWAY, History

WIDTH, LEFT, RIGHT, TOP = 1040, 150, 20, 44
HEIGHT = 190
"""Height of the throughput chart; below it is a lane for each kind of fault."""

LANE = 19

STYLE = """
.souk { font: 12px ui-sans-serif, system-ui, sans-serif; --ink: #26221c; --soft: #857c6e; --line: #e6dfd3;
  --done: #2f8f83; --refused: #e0a526; --away: #cf4b3c; --fault: #7a5bb5; --paper: #fffdf8; }
@media (prefers-color-scheme: dark) { .souk { --ink: #efe8db; --soft: #a2988a; --line: #38322a;
  --done: #4db8a9; --refused: #eab947; --away: #ef6a58; --fault: #a98be0; --paper: #1b1814; } }
.souk text { fill: var(--soft); } .souk .title { fill: var(--ink); font-size: 15px; font-weight: 600; }
.souk .grid { stroke: var(--line); } .souk .done { fill: var(--done); } .souk .refused { fill: var(--refused); }
.souk .away { fill: var(--away); } .souk .fault { fill: var(--fault); } .souk .paper { fill: var(--paper); }
"""


@dataclass(frozen=True)
class Bucket:
    """The number of answers of each sort in a slice of time."""

    done: int
    refused: int
    away: int


def buckets(history: History, end: float, count: int) -> list[Bucket]:
    """Return the answers of the run, cut into `count` slices of `end` seconds."""
    counts = [[0, 0, 0] for _ in range(count)]
    for o in history.operations:
        if o.answered < history.began:
            continue  # a sign-up
        slice_ = min(count - 1, int((o.answered - history.began) / end * count))
        sort = 2 if o.status in AWAY else 1 if (o.status or 0) >= 400 else 0
        counts[slice_][sort] += 1
    return [Bucket(*one) for one in counts]


def chart(history: History, faults: Sequence[FaultResult], title: str) -> str:
    """Return the chart as an SVG document."""
    end = max([o.answered for o in history.operations] + [result.ended for result in faults], default=1) - history.began
    kinds = sorted({result.fault.kind for result in faults if result.happened})
    height = TOP + HEIGHT + 34 + LANE * len(kinds) + 14
    parts = [
        f'<svg class="souk" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>',
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="10"/>',
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
        *_legend(),
        *_throughput(history, end),
        *_seconds(end, height),
        *_lanes(history, faults, kinds, end),
        "</svg>",
    ]
    return "\n".join(parts)


def _legend() -> list[str]:
    parts = []
    for place, (name, text) in enumerate((("done", "done"), ("refused", "refused"), ("away", "no answer, or 503"))):
        x = WIDTH - RIGHT - 290 + (0, 70, 155)[place]
        parts.append(f'<rect class="{name}" x="{x}" y="17" width="10" height="10" rx="2"/>')
        parts.append(f'<text x="{x + 15}" y="26">{text}</text>')
    return parts


def _throughput(history: History, end: float) -> list[str]:
    count = max(1, min(240, int(end)))
    slices = buckets(history, end, count)
    seconds = end / count
    most = _round(max(one.done + one.refused + one.away for one in slices) / seconds) * seconds
    step = (WIDTH - LEFT - RIGHT) / count
    bottom = TOP + HEIGHT
    parts = []
    for share in (0.5, 1.0):
        y = bottom - HEIGHT * share
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = f"{most * share / seconds:.0f} a second"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for number, one in enumerate(slices):
        y = float(bottom)
        for name, value in (("done", one.done), ("refused", one.refused), ("away", one.away)):
            tall = value / most * HEIGHT
            y -= tall
            if value:
                x, wide = LEFT + number * step, max(step - 0.6, 0.5)
                parts.append(f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>')
    return parts


def _round(most: float) -> int:
    """Return the next round number."""
    return next(n for n in (10, 20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1_000, 10_000, 10**9) if n >= most)


def _seconds(end: float, height: int) -> list[str]:
    every = next(step for step in (5, 10, 20, 30, 60, 120, 300, 3600) if end / step <= 14)
    parts = []
    for seconds in range(0, int(end) + 1, every):
        x = _x(seconds, end)
        y = TOP + HEIGHT
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{height - 10}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{seconds} s</text>')
    return parts


def _lanes(history: History, faults: Sequence[FaultResult], kinds: Sequence[str], end: float) -> list[str]:
    parts = []
    for number, kind in enumerate(kinds):
        y = TOP + HEIGHT + 34 + number * LANE
        parts.append(f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(kind)}</text>')
        for result in faults:
            if result.fault.kind == kind and result.happened:
                x = _x(result.began - history.began, end)
                wide = max(4.0, _x(result.ended - history.began, end) - x)
                label = f"{kind} {result.fault.target}, {result.ended - result.began:.1f} s"
                parts.append(
                    f'<rect class="fault" x="{x:.1f}" y="{y + 2}" width="{wide:.1f}" height="{LANE - 8}" rx="2">'
                    f"<title>{escape(label)}</title></rect>"
                )
    return parts


def _x(seconds: float, end: float) -> float:
    return LEFT + seconds / end * (WIDTH - LEFT - RIGHT)
