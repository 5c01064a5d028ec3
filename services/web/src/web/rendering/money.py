"""Converts amounts between minor units and what people type. No float anywhere."""

import re
from decimal import Decimal

from babel import Locale
from babel.numbers import NumberFormatError, get_currency_precision, parse_decimal

from common.i18n import major_units

_LIKELY = re.compile(r"[0-9][0-9.,'\u2019 \u00a0\u202f]{0,19}")
_PLAIN = re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?")


class NotAnAmount(ValueError):
    """The text is not an amount of money."""


class TooPrecise(ValueError):
    """The amount has more decimals than its currency, which has `decimals`."""

    def __init__(self, decimals: int) -> None:
        super().__init__(decimals)
        self.decimals = decimals


def typed(minor: int, currency: str, locale: Locale) -> str:
    """An amount as its field in a form shows it. `parse` is the inverse."""
    return str(major_units(minor, currency)).replace(".", locale.number_symbols["latn"]["decimal"])


def parse(text: str, currency: str, locale: Locale) -> int:
    """The minor units of an amount that was typed.

    German takes `12,50` and `1.250,00`. `12.50` is taken wherever it has only one meaning.

    Raises `NotAnAmount` or `TooPrecise`.
    """
    decimals = get_currency_precision(currency)
    minor = _decimal(text.strip(), locale).scaleb(decimals)
    if minor != minor.to_integral_value():
        raise TooPrecise(decimals)
    return int(minor)


def _decimal(text: str, locale: Locale) -> Decimal:
    if not _LIKELY.fullmatch(text):
        raise NotAnAmount(text)
    try:
        return parse_decimal(text, locale=locale, strict=True)
    except NumberFormatError:
        if _PLAIN.fullmatch(text):
            return Decimal(text)
    raise NotAnAmount(text)
