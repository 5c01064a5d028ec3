"""The language of somebody's mails."""

import re

LANGUAGES = ("en", "de")

_RANGE = re.compile(r"\s*([a-z]{1,8})(?:-[a-z0-9-]{1,40})?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?", re.IGNORECASE)
_MOST_RANGES = 20


def mail_language(accept_language: str) -> str:
    """The language of Souk that an `Accept-Language` header prefers (RFC 9110, 12.5.4); English if it names none."""
    best, weight = "en", 0.0
    for part in accept_language.split(",")[:_MOST_RANGES]:
        match = _RANGE.fullmatch(part)
        if match and match[1].lower() in LANGUAGES and float(match[2] or 1) > weight:
            best, weight = match[1].lower(), float(match[2] or 1)
    return best
