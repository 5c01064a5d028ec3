"""What people may be called: `NAME` refuses what shows as something else, and names that speak for Souk.

Reserved is a word that is read as "souk" or "operator", alone, in the plural, with digits around it, or together with a
word of an office ("SoukSupport", "official-souk"). A name that merely begins like it, such as Soukaina, is a name.
"""

import re
import unicodedata

from pydantic import AfterValidator

RESERVED = frozenset({"souk", "operator"})

OFFICES = (
    *("admin", "administrator", "account", "accounts", "billing", "bot", "care", "customer", "customerservice", "desk"),
    *("help", "helpdesk", "hilfe", "info", "kundendienst", "mail", "market", "marketplace", "moderator", "my", "news"),
    *("official", "offiziell", "pay", "payment", "payments", "payout", "refund", "refunds", "sales", "security"),
    *("service", "services", "shop", "staff", "store", "support", "system", "team", "the", "ticket", "tickets"),
)
"""Words that, with a reserved one, name somebody who speaks for Souk."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What Unicode calls default-ignorable (DerivedCoreProperties 16), and the blank of Braille: they show as nothing."""

_CONTROL = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Controls, zero-width and direction characters, private use, ends of lines."""

_CONFUSABLES = str.maketrans(
    {
        **dict.fromkeys("\u043e\u03bf\u0585\u1d0f\u0a66\u0be60", "o"),
        **dict.fromkeys("\u04555$\ua731", "s"),
        **dict.fromkeys("\u03c5\u057d\u0446\u1d1c\u028b", "u"),
        **dict.fromkeys("\u043a\u03ba\u04a1\u1d0b", "k"),
        **dict.fromkeys("\u0440\u03c1", "p"),
        **dict.fromkeys("\u0435\u03b53", "e"),
        **dict.fromkeys("\u0433\u0159", "r"),
        **dict.fromkeys("\u0430\u03b14@", "a"),
        **dict.fromkeys("\u0442\u03c47", "t"),
    }
)
"""Letters of other scripts, and digits, that are read as Latin letters of the reserved names."""

_VARIANT = re.compile(r"LATIN (?:SMALL |CAPITAL )?LETTER (?:SMALL CAPITAL )?([A-Z])(?: WITH .+)?")
"""Unicode's names of Latin letters in another shape, which do not decompose: with a stroke, or as small capitals."""

_SPEAKS = re.compile("(?:{0})?(?:souk|operator)s?(?:{0})?".format("|".join(OFFICES)))


def _allowed(name: str) -> str:
    if _INVISIBLE.search(name) or any(unicodedata.category(character) in _CONTROL for character in name):
        raise ValueError("a name cannot contain control, zero-width or direction characters")
    # A digit is read as a letter, or stands beside the word.
    for skeleton in (_skeleton(name), _skeleton(re.sub(r"\d", " ", unicodedata.normalize("NFKD", name)))):
        words = "".join(c if c.isalnum() else " " for c in skeleton).split()
        if any(_SPEAKS.fullmatch(word) for word in (*words, "".join(words))):
            raise ValueError("this name is reserved")
    return name


def _skeleton(name: str) -> str:
    """The name as it is read: without accents, in lower case, in Latin letters."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(_latin(c) for c in plain if not unicodedata.combining(c)).translate(_CONFUSABLES)


def _latin(character: str) -> str:
    variant = _VARIANT.fullmatch(unicodedata.name(character, ""))
    return variant[1].lower() if variant else character


NAME = AfterValidator(_allowed)
