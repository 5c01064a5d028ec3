"""Amounts are exact in every currency, however people write them."""

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from common.events import Currency
from common.i18n import money as shown
from web.rendering.money import NotAnAmount, TooPrecise, parse, typed

LOCALES = [Locale.parse(tag) for tag in ("en_US", "en_GB", "de_DE", "de_CH", "de_AT")]


@pytest.mark.parametrize(
    ("minor", "currency", "locale", "text"),
    [
        (123456, "EUR", "en_US", "€1,234.56"),
        (123456, "EUR", "de_DE", "1.234,56\xa0€"),
        (1250, "CHF", "de_CH", "CHF\xa012.50"),
        (1250, "CHF", "en_US", "CHF\xa012.50"),
        (1250, "JPY", "en_US", "¥1,250"),
        (5, "GBP", "en_GB", "£0.05"),
    ],
)
def test_an_amount_is_shown_as_people_of_the_locale_write_it(minor: int, currency: str, locale: str, text: str) -> None:
    assert shown(minor, currency, Locale.parse(locale)) == text


@pytest.mark.parametrize(
    ("text", "currency", "locale", "minor"),
    [
        ("12.50", "EUR", "en", 1250),
        ("12.5", "EUR", "en", 1250),
        (" 12 ", "EUR", "en", 1200),
        ("1,250.00", "EUR", "en", 125000),
        ("12,50", "EUR", "de", 1250),
        ("1.250,00", "EUR", "de", 125000),
        ("12.50", "EUR", "de", 1250),
        ("0.29", "EUR", "en", 29),
        ("1250", "JPY", "en", 1250),
    ],
)
def test_what_is_typed_becomes_minor_units_exactly(text: str, currency: str, locale: str, minor: int) -> None:
    assert parse(text, currency, Locale.parse(locale)) == minor


@pytest.mark.parametrize("text", ["", "free", "-5", "1e3", "12,50,00", "1.2.3", "NaN", "9" * 30, "٣x", "12 EUR"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(NotAnAmount):
        parse(text, "EUR", Locale.parse("en"))


@pytest.mark.parametrize(("text", "currency"), [("1.005", "EUR"), ("0.5", "JPY")])
def test_more_decimals_than_the_currency_has_are_refused_not_rounded(text: str, currency: str) -> None:
    with pytest.raises(TooPrecise):
        parse(text, currency, Locale.parse("en"))


@given(st.integers(1, 10**9), st.sampled_from(sorted(Currency)), st.sampled_from(LOCALES))
def test_an_amount_in_a_form_comes_back_as_it_was(minor: int, currency: str, locale: Locale) -> None:
    assert parse(typed(minor, currency, locale), currency, locale) == minor
