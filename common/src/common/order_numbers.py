"""The numbers of orders that people can read out."""

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without letters that look or sound like another one or a digit."""


def readable_number(order_id: str) -> str:
    """The number of an order that people can read out, such as `7Q4K-M2XD`: the last 40 of its random bits."""
    bits = int(order_id[-10:], 16)
    letters = "".join(ALPHABET[bits >> shift & 31] for shift in range(35, -1, -5))
    return f"{letters[:4]}-{letters[4:]}"


def as_typed(text: str) -> tuple[str, int] | None:
    """The order's number and the unit that somebody has typed, in any case and with or without hyphens. None: neither.

    Letters that are not in the alphabet stand for the digit that they look like.
    """
    plain = "".join(text.upper().replace("O", "0").replace("I", "1").replace("L", "1").split()).replace("-", "")
    number, unit = plain[:8], plain[8:]
    if len(number) < 8 or set(number) - set(ALPHABET) or not (unit.isascii() and unit.isdecimal() and len(unit) <= 6):
        return None
    return f"{number[:4]}-{number[4:]}", int(unit)


def end_of_id(number: str) -> str:
    """How the id of an order with this readable number ends."""
    bits = 0
    for letter in number.replace("-", ""):
        bits = bits << 5 | ALPHABET.index(letter)
    return f"{bits:010x}"
