"""What people carry: the QR of a ticket, an entry for their calendar, a PDF to print."""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

import segno
from babel.dates import format_datetime
from fpdf import FPDF

QUIET_ZONE = 4
"""Modules around a QR, as its standard asks for."""

USUAL_LENGTH = timedelta(hours=3)
"""How long an event takes in a calendar whose end nobody has named."""


@dataclass(frozen=True)
class Paper:
    """What stands on a ticket."""

    ticket_id: str
    number: str
    title: str
    code: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    venue: str | None = None
    city: str | None = None
    timezone: str | None = None

    @property
    def place(self) -> str:
        """Where it is, in one line."""
        return ", ".join(part for part in (self.venue, self.city) if part)

    def when(self, locale: str = "en") -> str:
        """When it starts, in the time of the place."""
        if self.starts_at is None:
            return ""
        return format_datetime(self.starts_at, "full", ZoneInfo(self.timezone or "UTC"), locale)


def qr(code: str) -> segno.QRCode:
    """The QR of a code, at level M."""
    return segno.make_qr(code, error="m", mode="alphanumeric", boost_error=False)


def svg(code: str) -> bytes:
    """The QR as an SVG without a size of its own: black on white, also where the page around it is dark."""
    out = io.BytesIO()
    qr(code).save(out, kind="svg", border=QUIET_ZONE, light="#fff", omitsize=True, xmldecl=False)
    return out.getvalue()


def calendar(paper: Paper, now: datetime) -> str:
    """The event of a ticket as iCalendar (RFC 5545). It has to have a start."""
    start = paper.starts_at or now
    end = paper.ends_at or start + USUAL_LENGTH
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Souk//Tickets//EN",
        "BEGIN:VEVENT",
        f"UID:{paper.ticket_id}@souk",
        f"DTSTAMP:{_moment(now)}",
        f"DTSTART:{_moment(start)}",
        f"DTEND:{_moment(end)}",
        f"SUMMARY:{_text(paper.title)}",
        *([f"LOCATION:{_text(paper.place)}"] if paper.place else []),
        f"DESCRIPTION:{_text(paper.number)}",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def pdf(papers: Sequence[Paper]) -> bytes:
    """The tickets, each on a page of its own (A4)."""
    document = FPDF(format="A4")
    document.set_title("Tickets")
    for paper in papers:
        document.add_page()
        document.set_font("helvetica", "B", 22)
        document.multi_cell(0, 10, _printable(paper.title), new_x="LMARGIN", new_y="NEXT")
        document.set_font("helvetica", size=13)
        for line in (paper.when(), paper.place):
            if line:
                document.multi_cell(0, 8, _printable(line), new_x="LMARGIN", new_y="NEXT")
        _draw(document, qr(paper.code), left=55, top=document.get_y() + 12, width=100)
        document.set_y(document.get_y() + 12 + 100 + 6)
        document.set_font("courier", "B", 20)
        document.cell(0, 10, paper.number, align="C")
    return bytes(document.output())


def _draw(document: FPDF, code: segno.QRCode, left: float, top: float, width: float) -> None:
    """Draw the modules as black squares, each row's neighbours as one."""
    rows = list(code.matrix_iter(border=QUIET_ZONE))
    module = width / len(rows)
    document.set_fill_color(0)
    for y, row in enumerate(rows):
        x = 0
        for dark, run in groupby(row):
            length = len(list(run))
            if dark:
                document.rect(left + x * module, top + y * module, length * module, module, style="F")
            x += length


def _printable(text: str) -> str:
    """The text in the letters that every PDF reader has (Latin-1); others lose their accents, or become a `?`."""
    plain = "".join(c if _is_latin(c) else unicodedata.normalize("NFKD", c) for c in text)
    return "".join(c for c in plain if not unicodedata.combining(c)).encode("latin-1", "replace").decode("latin-1")


def _is_latin(character: str) -> bool:
    return ord(character) < 256


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _text(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return text


def _folded(line: str) -> str:
    """The line in pieces of 75 bytes at most (RFC 5545, 3.1)."""
    pieces, size = [""], 0
    for character in line:
        size += len(character.encode())
        if size > 75:
            pieces.append(" ")
            size = 1 + len(character.encode())
        pieces[-1] += character
    return "\r\n".join(pieces)
