"""Bars of what was sold day by day, or week by week if there are many. Pages draw them as SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from web.clients.sales import SalesTotals
from web.rendering.i18n import I18n

MOST_BARS = 62
"""More days than that are shown as weeks."""

WEEK = 7


@dataclass(frozen=True)
class Bar:
    """A bar: its day (or the first day of its week), its value in words, and its height in percent of the tallest."""

    day: str
    value: str
    height: float


@dataclass(frozen=True)
class Chart:
    """Bars from the left to the right, and in words what they show."""

    title: str
    summary: str
    most: str
    bars: Sequence[Bar]


def charts_of(totals: SalesTotals, i18n: I18n) -> list[Chart]:
    """Revenue and units of each currency."""
    _, charts = i18n.gettext, list[Chart]()
    for currency in (money.currency for money in totals.currencies):
        days = [day for day in totals.days if day.currency == currency]
        revenue, units = {day.day: day.revenue for day in days}, {day.day: day.units for day in days}
        charts += [
            _chart(_("Revenue"), totals, revenue, partial(i18n.money, currency=currency), i18n),
            _chart(_("Units sold"), totals, units, i18n.number, i18n),
        ]
    return charts


def _chart(
    title: str, totals: SalesTotals, by_day: dict[date, int], written: Callable[[int], str], i18n: I18n
) -> Chart:
    length = (totals.last - totals.first).days + 1
    step = 1 if length <= MOST_BARS else WEEK
    starts = [totals.first + timedelta(days=start) for start in range(0, length, step)]
    values = [sum(by_day.get(start + timedelta(days=day), 0) for day in range(step)) for start in starts]
    most = max(values)
    bars = [
        Bar(i18n.day(start), written(value), 100 * value / most if most else 0)
        for start, value in zip(starts, values, strict=True)
    ]
    best = bars[values.index(most)]
    title = f"{title} · " + (i18n.gettext("by day") if step == 1 else i18n.gettext("by week"))
    summary = i18n.gettext("%(title)s, %(first)s to %(last)s: %(sum)s in all, most on %(day)s with %(most)s.") % {
        "title": title,
        "first": bars[0].day,
        "last": i18n.day(totals.last),
        "sum": written(sum(values)),
        "day": best.day,
        "most": best.value,
    }
    return Chart(title, summary, written(most), bars)
