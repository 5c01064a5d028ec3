"""The languages of Souk, and which of them a reader prefers."""

import re
from collections.abc import Mapping

LANGUAGES: Mapping[str, str] = {"en": "English", "de": "Deutsch"}
"""Each with its own name for itself."""

_RANGE = re.compile(r"([a-z]{2,3}(?:-[a-z0-9]{2,8})*)\s*(?:;\s*q=([01](?:\.\d{0,3})?))?", re.IGNORECASE)
_MOST_RANGES = 20


def accepted_locales(header: str) -> list[str]:
    """The locales of an `Accept-Language` header (`de_AT`), the preferred one first (RFC 9110, 12.5.4)."""
    weighted = []
    for part in header.split(",")[:_MOST_RANGES]:
        if (match := _RANGE.fullmatch(part.strip())) and (weight := float(match[2] or 1)):
            weighted.append((weight, match[1].replace("-", "_")))
    return [tag for _, tag in sorted(weighted, key=lambda pair: -pair[0])]


def preferred_language(header: str) -> str:
    """The language of Souk that an `Accept-Language` header prefers; English if it names none."""
    named = (locale.partition("_")[0].lower() for locale in accepted_locales(header))
    return next((language for language in named if language in LANGUAGES), "en")
