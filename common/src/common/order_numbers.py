"""The numbers of orders and tickets that people can read out."""

import re
import secrets
from hashlib import sha256

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without letters that look or sound like another one or a digit."""


def readable_number(order_id: str) -> str:
    """The number of an order that people can read out, such as `7Q4K-M2XD`: the last 40 of its random bits."""
    bits = int(order_id[-10:], 16)
    letters = "".join(ALPHABET[bits >> shift & 31] for shift in range(35, -1, -5))
    return f"{letters[:4]}-{letters[4:]}"


CHECK_LENGTH = 4
"""Characters of a check. The first is a letter, so one sees where the unit before it ends."""

_TYPED = re.compile(f"([{ALPHABET}]{{4}})([{ALPHABET}]{{4}})([0-9]{{1,6}})([{ALPHABET[10:]}][{ALPHABET}]{{3}})?")


def new_check() -> str:
    """What ends the number of a ticket that was given away: nobody guesses it (720,896 of them)."""
    rest = (secrets.choice(ALPHABET) for _ in range(CHECK_LENGTH - 1))
    return secrets.choice(ALPHABET[10:]) + "".join(rest)


def check_of(text: str) -> str:
    """A check that is the same each time, for who knows the text."""
    bits = int.from_bytes(sha256(text.encode()).digest()[:3])
    rest = "".join(ALPHABET[bits >> shift & 31] for shift in (10, 5, 0))
    return ALPHABET[10 + (bits >> 15) % 22] + rest


def as_typed(text: str) -> tuple[str, int, str] | None:
    """The order's number, the unit and the check, or "", that somebody has typed. None: something else.

    In any case, with or without hyphens. Letters that are not in the alphabet stand for the digit that they look like.
    """
    plain = "".join(text.upper().replace("O", "0").replace("I", "1").replace("L", "1").split()).replace("-", "")
    if not (typed := _TYPED.fullmatch(plain)):
        return None
    return f"{typed[1]}-{typed[2]}", int(typed[3]), typed[4] or ""


def end_of_id(number: str) -> str:
    """How the id of an order with this readable number ends."""
    bits = 0
    for letter in number.replace("-", ""):
        bits = bits << 5 | ALPHABET.index(letter)
    return f"{bits:010x}"
