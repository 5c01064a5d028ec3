"""A broken promise."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """`rule` is broken for `subject`, the id of an order, an item, a payment or a user; `what` says how."""

    rule: str
    subject: str
    what: str
