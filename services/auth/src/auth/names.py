"""What people may be called: `NAME` refuses what shows as something else, and names that speak for Souk."""

import unicodedata

from pydantic import AfterValidator

RESERVED = frozenset({"souk", "operator"})

_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show as nothing."""

_CONTROL = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Controls, zero-width and direction characters, private use, ends of lines."""

_CONFUSABLES = str.maketrans(
    {
        **dict.fromkeys("\u043e\u03bf\u05850", "o"),
        **dict.fromkeys("\u04555$\ua731", "s"),
        **dict.fromkeys("\u03c5\u057d\u0446", "u"),
        **dict.fromkeys("\u043a\u03ba\u04a1", "k"),
        **dict.fromkeys("\u0440\u03c1", "p"),
        **dict.fromkeys("\u0435\u03b53", "e"),
        **dict.fromkeys("\u0433\u0159", "r"),
        **dict.fromkeys("\u0430\u03b14@", "a"),
        **dict.fromkeys("\u0442\u03c47", "t"),
    }
)
"""Letters of other scripts, and digits, that are read as Latin letters of the reserved names."""


def _allowed(name: str) -> str:
    if any(unicodedata.category(character) in _CONTROL or character in _INVISIBLE for character in name):
        raise ValueError("a name cannot contain control, zero-width or direction characters")
    words = "".join(c if c.isalnum() else " " for c in _skeleton(name)).split()
    if RESERVED & {*words, "".join(words)}:
        raise ValueError("this name is reserved")
    return name


def _skeleton(name: str) -> str:
    """The name as it is read: without accents, in lower case, in Latin letters."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(c for c in plain if not unicodedata.combining(c)).translate(_CONFUSABLES)


NAME = AfterValidator(_allowed)
