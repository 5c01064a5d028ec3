"""Texts and amounts in other languages. English is in the code, translations are in a folder of each service."""

import gettext
import re
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_currency, get_currency_precision

_TOUCHING = re.compile(r"(?<=[^\W\d_])(?=\d)")


@cache
def translations(folder: Path, language: str) -> gettext.NullTranslations:
    """The translations into a language, compiled from its `messages.po` in the folder on the first call."""
    source = folder / language / "LC_MESSAGES" / "messages.po"
    if not source.exists():
        return gettext.NullTranslations()
    compiled = BytesIO()
    with source.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def major_units(minor: int, currency: str) -> Decimal:
    """An amount in the currency's main unit: 1250 cents are 12.50."""
    return Decimal(minor).scaleb(-get_currency_precision(currency))


def money(minor: int, currency: str, locale: Locale) -> str:
    """An amount as the locale writes it: 1250 EUR is €12.50 or 12,50 €."""
    text = format_currency(major_units(minor, currency), currency, locale=locale)
    return _TOUCHING.sub("\u00a0", text)  # CLDR puts a space after letters (CHF 12.50), Babel does not.
