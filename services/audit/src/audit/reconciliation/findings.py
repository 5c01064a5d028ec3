"""What a check finds, and what it reports. No I/O."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, computed_field

from common.errors import NotFound


class NotChecked(NotFound):
    """The books were never checked."""

    code = "not_checked"


class Rule(StrEnum):
    """What must hold; docs/operations.md says each in a sentence."""

    UNITS_ADD_UP = "units_add_up"
    SOLD_ONCE = "sold_once"
    CHARGES_END = "charges_end"
    ORDERS_END = "orders_end"
    EVENTS_KEPT = "events_kept"
    BOOKS_AGREE = "books_agree"
    COPIES_AGREE = "copies_agree"
    EVERYTHING_READ = "everything_read"
    LETTERS_SETTLED = "letters_settled"
    MONEY_BALANCES = "money_balances"


class Finding(BaseModel):
    """Something is not as it should be: for good if `certain`, else unless it is only on its way."""

    model_config = ConfigDict(frozen=True)

    rule: Rule
    subject: dict[str, str]
    """Which order, item, payment or consumer: ids by kind."""
    expected: str
    found: str
    certain: bool = False

    @property
    def key(self) -> str:
        """The same for the same trouble, seen again: what was expected says of which version."""
        return f"{self.rule} {self.subject} {self.expected}"


class Money(BaseModel):
    """Where the money of charges is, in minor units of one currency: a double entry for each.

    What was charged has been refunded, is with a seller whose order is paid, or is in transit: on its way to one of
    both. `charged` and `refunded` are the gateway's word, `sellers` that of orders, `in_transit` that of payments.
    """

    charged: int = 0
    refunded: int = 0
    sellers: int = 0
    in_transit: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> int:
        """Zero, or money is lost or made."""
        return self.charged - self.refunded - self.sellers - self.in_transit

    def __add__(self, other: "Money") -> "Money":
        return Money(
            charged=self.charged + other.charged,
            refunded=self.refunded + other.refunded,
            sellers=self.sellers + other.sellers,
            in_transit=self.in_transit + other.in_transit,
        )


class Violation(BaseModel):
    """A finding that is no lag. `since` is when the first of the checks began that all saw it."""

    rule: Rule
    subject: dict[str, str]
    expected: str
    found: str
    since: datetime


class Lag(BaseModel):
    """What was on its way: messages not yet handled, the age of the oldest, and findings that went away by waiting."""

    messages: int = 0
    seconds: float = 0
    cleared: int = 0


class Report(BaseModel):
    """The outcome of one check. `counts` says how many of what were looked at; `totals`, violations by rule."""

    checked_at: datetime
    seconds: float
    grace: float
    counts: dict[str, int]
    totals: dict[Rule, int]
    violations: list[Violation]
    balances: dict[str, Money]
    lag: Lag

    def after(self, earlier: "Report") -> "Report":
        """The same report, where what the check before saw, too, is as old as that."""
        known = {_key(violation): violation.since for violation in earlier.violations}
        aged = [v.model_copy(update={"since": known.get(_key(v), v.since)}) for v in self.violations]
        return self.model_copy(update={"violations": aged})

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return not any(self.totals.values())


def _key(violation: Violation) -> str:
    return f"{violation.rule} {violation.subject} {violation.expected}"
