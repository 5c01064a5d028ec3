"""The findings of a check, and its report. No I/O."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, computed_field

from common.errors import NotFound


class NotChecked(NotFound):
    """No check has finished yet."""

    code = "not_checked"


class Rule(StrEnum):
    """What must hold. docs/operations.md explains each rule in a sentence."""

    UNITS_ADD_UP = "units_add_up"
    SOLD_ONCE = "sold_once"
    CHARGES_END = "charges_end"
    ORDERS_END = "orders_end"
    EVENTS_KEPT = "events_kept"
    EVENTS_AGREE = "events_agree"
    BOOKS_AGREE = "books_agree"
    COPIES_AGREE = "copies_agree"
    TICKETS_MATCH = "tickets_match"
    ADMITTED_ONCE = "admitted_once"
    EVERYTHING_READ = "everything_read"
    LETTERS_SETTLED = "letters_settled"
    MONEY_BALANCES = "money_balances"


class Difference(BaseModel):
    """Something breaks a rule."""

    rule: Rule
    subject: dict[str, str]
    """The order, item, payment or consumer: ids by kind."""
    expected: str
    found: str

    @property
    def key(self) -> str:
        """The same when the same problem is found again. `expected` names the version, where there is one."""
        return f"{self.rule} {self.subject} {self.expected}"


class Finding(Difference):
    """Something breaks a rule: surely if `certain`, otherwise unless an event is still on its way."""

    model_config = ConfigDict(frozen=True)

    certain: bool = False


class Money(BaseModel):
    """Where the money of charges is, in minor units of one currency.

    Charged money was refunded, belongs to the seller of a paid order, is in transit to one of the two, or is with the
    bank of a buyer who disputes the payment. `charged` and `refunded` come from the gateway's records, `sellers` from
    those of orders, `in_transit` and `disputed` from payments.
    """

    charged: int = 0
    refunded: int = 0
    sellers: int = 0
    in_transit: int = 0
    disputed: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> int:
        """Zero, unless money was lost or created."""
        return self.charged - self.refunded - self.sellers - self.in_transit - self.disputed

    def __add__(self, other: "Money") -> "Money":
        return Money(
            charged=self.charged + other.charged,
            refunded=self.refunded + other.refunded,
            sellers=self.sellers + other.sellers,
            in_transit=self.in_transit + other.in_transit,
            disputed=self.disputed + other.disputed,
        )


class Violation(Difference):
    """A finding that lasted. `since` is the start of the first of the consecutive checks that found it."""

    since: datetime


class Lag(BaseModel):
    """Unhandled messages, the age of the oldest in seconds, and the number of findings that disappeared by waiting."""

    messages: int = 0
    seconds: float = 0
    cleared: int = 0


class Checkpoint(BaseModel):
    """What a later check can go on from: then it reads what changes after it, and not everything.

    `marks` say by source how far its changes are known. `again` has, by section, what is checked again though nothing
    about it changes: what breaks a rule, and what the clock alone may bring to break one.
    """

    whole_at: datetime
    marks: dict[str, str]
    again: dict[str, list[str]]
    balances: dict[str, Money]


class Report(BaseModel):
    """The report of one check. `counts` is the number of records by kind, `totals` of violations by rule.

    If it is about changes only, everything was checked last at `whole_at`, of which the `balances` are.
    """

    checked_at: datetime
    whole_at: datetime | None = None
    seconds: float
    grace: float
    counts: dict[str, int]
    totals: dict[Rule, int]
    violations: list[Violation]
    balances: dict[str, Money]
    lag: Lag

    def after(self, earlier: "Report") -> "Report":
        """This report, where violations that the earlier report has too keep their age."""
        known = {violation.key: violation.since for violation in earlier.violations}
        aged = [v.model_copy(update={"since": known.get(v.key, v.since)}) for v in self.violations]
        return self.model_copy(update={"violations": aged})

    @property
    def whole(self) -> bool:
        """Whether everything was checked."""
        return self.whole_at in {None, self.checked_at}

    @property
    def ok(self) -> bool:
        """Whether there is no violation."""
        return not any(self.totals.values())
