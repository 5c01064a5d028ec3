"""The visitor's language is chosen, and every text is translated."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from common.languages import LANGUAGES
from web.rendering.i18n import LOCALES, choose_locale, i18n_for

WEB = Path(__file__).parents[1]


def extracted() -> set[str | tuple[str, ...]]:
    """Every message in the code and the templates."""
    with (WEB / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    found = extract_from_dir(WEB, methods, options)
    return {tuple(message) if isinstance(message, (list, tuple)) else message for _, _, message, _, _ in found}


def catalog(language: str) -> Catalog:
    with (LOCALES / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=language)


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_message_is_translated_and_keeps_its_placeholders(language: str) -> None:
    messages = {message.id: message for message in catalog(language) if message.id}

    assert set(messages) == extracted()
    assert [message.id for message in messages.values() if message.fuzzy or not all(strings(message.string))] == []
    for message in messages.values():
        for string in strings(message.string):
            assert placeholders(string) == placeholders(strings(message.id)[-1]), message.id


def strings(text: object) -> tuple[str, ...]:
    return tuple(text) if isinstance(text, (list, tuple)) else (str(text),)


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)s|<[^>]+>", text))


@pytest.mark.parametrize(
    ("accepted", "preferred", "locale"),
    [
        ("", None, "en"),
        ("de-AT,de;q=0.8,en;q=0.5", None, "de_AT"),
        ("fr-FR, en-GB;q=0.7, de;q=0.9", None, "de"),
        ("fr", None, "en"),
        ("en-US", "de", "de"),
        ("en-US,de-CH;q=0.1", "de", "de_CH"),
        ("en-XX", None, "en"),
        ("*;q=0.1", None, "en"),
        ("de;q=0", None, "en"),
        ("de-DE", "tlh", "de_DE"),
        ("%%%,,;q=9" * 50, None, "en"),
    ],
)
def test_the_best_supported_locale_is_chosen(accepted: str, preferred: str | None, locale: str) -> None:
    assert choose_locale(accepted, preferred) == locale


@pytest.mark.parametrize(
    ("locale", "this_year", "another"),
    [
        ("en_US", "Fri, Feb 5, 8:00\u202fPM", "Sat, Feb 5, 2028, 8:00\u202fPM"),
        ("de", "Fr., 5. Feb., 20:00", "Sa., 5. Feb. 2028, 20:00"),
    ],
)
def test_a_day_of_another_year_says_its_year(
    monkeypatch: pytest.MonkeyPatch, locale: str, this_year: str, another: str
) -> None:
    monkeypatch.setattr("web.rendering.i18n.now", lambda: datetime(2027, 1, 1, tzinfo=UTC))
    i18n = i18n_for(locale)
    said = [i18n.soon(datetime(year, 2, 5, 19, tzinfo=UTC), "Europe/Berlin") for year in (2027, 2028)]
    assert said == [this_year, another]
