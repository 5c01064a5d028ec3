"""What people carry: the QR of a ticket, an entry for their calendar, a PDF to print."""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import segno
from babel.dates import format_date, format_time
from fpdf import FPDF
from fpdf.fonts import TTFFont

QUIET_ZONE = 4
"""Modules around a QR, as its standard asks for."""

FONT = "notosans"
FONT_FILE = Path(str(files("fontpkg_noto_sans"))) / "files" / "NotoSans[wdth,wght].ttf"

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
        there = self.starts_at.astimezone(ZoneInfo(self.timezone or "UTC"))
        return f"{format_date(there, 'full', locale)}, {format_time(there, 'short', locale=locale)}"


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


def pdf(papers: Sequence[Paper], language: str = "en") -> bytes:
    """The tickets, each on a page of its own (A4), with dates in one of Souk's languages. It takes 0.1 s or more."""
    document = FPDF(format="A4")
    document.add_font(FONT, fname=FONT_FILE)
    document.set_title("Tickets")
    document.set_lang(language)
    for paper in papers:
        document.add_page()
        document.set_font(FONT, size=24)
        document.multi_cell(0, 11, _printable(paper.title, document), new_x="LMARGIN", new_y="NEXT")
        document.set_font(FONT, size=13)
        for line in (paper.when(language), paper.place):
            if line:
                document.multi_cell(0, 8, _printable(line, document), new_x="LMARGIN", new_y="NEXT")
        _draw(document, qr(paper.code), left=55, top=document.get_y() + 12, width=100)
        document.set_y(document.get_y() + 12 + 100 + 6)
        document.set_font(FONT, size=20)
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


def _printable(text: str, document: FPDF) -> str:
    """The text with a `?` for each letter that the font has not: it has those of Latin, Greek and Cyrillic."""
    known = cast("TTFFont", document.fonts[FONT]).cmap
    return "".join(c if ord(c) in known or c == "\n" else "?" for c in unicodedata.normalize("NFC", text))


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
