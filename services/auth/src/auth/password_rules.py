"""Which passwords are refused: those that are guessed first, and those made of what is known about their owner."""

from collections.abc import Sequence
from re import findall

from zxcvbn import zxcvbn

from common.errors import Invalid

LEAST_GUESSES = 10**6
"""A password that a guesser reaches sooner is too weak: 30 guesses a minute for three weeks."""

ESTIMATED = 40
"""Characters that are estimated. The time grows faster than the length; longer passwords are strong or repeat."""

LEAST_OF_THEIR_OWN = 6
"""Characters of a password that are not the owner's name or address."""


class PasswordTooWeak(Invalid):
    """The password would soon be guessed; the message says why."""

    code = "password_too_weak"

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message, errors=[{"field": field, "message": message}])


def check_password(password: str, owner: Sequence[str], field: str) -> None:
    """Raise `PasswordTooWeak` about `field`. `owner` is what is known of them: their name and address."""
    rest = password.casefold()
    for part in _parts(owner):
        rest = rest.replace(part, "")
    if len(rest) < min(LEAST_OF_THEIR_OWN, len(password)):
        raise PasswordTooWeak("it is made of your name or your address", field)
    found = zxcvbn(password[:ESTIMATED], user_inputs=[known[:ESTIMATED] for known in owner])
    if found["guesses"] < LEAST_GUESSES:
        reason = found["feedback"]["warning"] or "It is easy to guess."
        raise PasswordTooWeak(f"too easy to guess: {reason[0].lower()}{reason[1:].rstrip('.')}", field)


def _parts(owner: Sequence[str]) -> list[str]:
    """Names, addresses and the words in them, but not a mail provider's, in lower case, the longest first."""
    known = {text.casefold() for text in owner} | {"".join(text.casefold().split()) for text in owner}
    words = {word for text in known for word in findall(r"[^\W_]{3,}", text.partition("@")[0])}
    return sorted(known | words, key=len, reverse=True)
