"""Recovery codes: shown once, stored as hashes, each good for one sign-in."""

import secrets
from hashlib import sha256

NUMBER = 10
GROUPS, GROUP = 4, 4
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what looks alike. Sixteen of these are 79 random bits, so a hash needs neither salt nor time."""


def new_codes() -> list[str]:
    """`NUMBER` codes, such as `k7wq-3m2d-hx9a-5tzr`."""
    return ["-".join(_group() for _ in range(GROUPS)) for _ in range(NUMBER)]


def hash_of(code: str) -> str:
    """SHA-256 of a code, however it was typed."""
    typed = "".join(character for character in code.lower() if character.isalnum())
    return sha256(typed.encode()).hexdigest()


def _group() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(GROUP))
