"""Rows of a CSV file (RFC 4180) that a spreadsheet opens, and does not run."""

import csv
import io
from collections.abc import Iterable
from unicodedata import normalize

BOM = "\ufeff"
"""At the beginning of the file: Excel takes it for another encoding else."""

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that spreadsheets take for a formula, in any width (owasp.org, CSV injection)."""


def row(cells: Iterable[object]) -> str:
    """A line of the file. A text that would be a formula begins with an apostrophe; numbers are as they are."""
    written = io.StringIO()
    csv.writer(written).writerow([harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return written.getvalue()


def harmless(text: str) -> str:
    """The text, which no spreadsheet takes for a formula."""
    return f"'{text}" if normalize("NFKC", text).lstrip(" ").startswith(FORMULAS) else text
