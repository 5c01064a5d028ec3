"""The port to the service that moves the money. Every gateway passes the cases in test_gateway.py."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from common.errors import NotFound, SoukError, Unavailable
from common.events import Currency, DisputeStatus

ABANDONED, RELEASED, CAPTURE_REFUSED = "abandoned", "released", "capture_refused"
"""Why nothing moved, where the payment method itself was not declined. Gateways may have further reasons.

Abandoned: nobody confirmed, or the order could not be paid any more.
"""


@dataclass(frozen=True, slots=True)
class Charge:
    """Money to take. `payment_id` is the idempotency key; `amount` is in minor units of `currency`."""

    payment_id: str
    order_id: str
    amount: int
    currency: Currency
    method: str
    hold_ends_at: datetime


@dataclass(frozen=True, slots=True)
class Authorized:
    """The amount is kept ready and nothing has moved. `reference` is the gateway's id of the charge, as below."""

    reference: str


@dataclass(frozen=True, slots=True)
class Captured:
    """The money is here."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """No money moved, and none will. `reason` is a short, stable code of the gateway."""

    reference: str
    reason: str


@dataclass(frozen=True, slots=True)
class Processing:
    """The outcome comes later, with a call of the webhook.

    With a `client_secret` the gateway waits for the buyer, whose page confirms with it. Nobody else may see it.
    """

    reference: str
    client_secret: str | None = field(default=None, repr=False)


Answer = Authorized | Captured | Declined | Processing


@dataclass(frozen=True, slots=True)
class Refunds:
    """What the refunds of a charge came to.

    `amount` is what went back, or is on its way, in minor units; `returned` means that this is the whole amount. A
    refund may still fail then, even days later: `failures` counts those that did, the newest for `reason`. So of two of
    these, the one with more failures is newer, and with as many failures the one with the larger amount.
    """

    returned: bool = False
    failures: int = 0
    reason: str = ""
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Dispute:
    """The newest dispute of a charge. While it is open, and if it is lost, the buyer's bank has the money.

    `opened_at` is in Unix seconds.
    """

    status: DisputeStatus
    reason: str
    opened_at: int


@dataclass(frozen=True, slots=True)
class Found:
    """A charge as the gateway has it now, the payment it was made for, and what happened to the money later."""

    payment_id: str
    answer: Answer
    refunds: Refunds = Refunds()
    dispute: Dispute | None = None
    marks: tuple[str, ...] = field(default=(), compare=False)
    """What the gateway's lists show of this state, where it has such lists."""


Hear = Callable[[str], Awaitable[object]]
"""Takes the reference of a charge of which there is news."""


@dataclass(frozen=True, slots=True)
class ChargeRecord:
    """Where the money of a charge is now, according to the gateway's own records. `amount` is in minor units."""

    payment_id: str
    amount: int
    currency: str
    captured: bool
    refunded: bool
    disputed: bool = False
    """Whether the buyer's bank has the money."""
    refunded_amount: int = 0
    """How much went back: the whole amount, if it is `refunded`."""

    def as_dict(self) -> dict[str, object]:
        """The record as reconciliation reads it."""
        return {
            "id": self.payment_id,
            "amount": self.amount,
            "currency": self.currency,
            "captured": self.captured,
            "refunded": self.refunded,
            "disputed": self.disputed,
            "refunded_amount": self.refunded_amount,
        }


class ChargesUnlisted(NotFound):
    """The gateway's own list of its charges was not read yet."""

    code = "charges_unlisted"


class GatewayTimeout(Unavailable):
    """No answer in time. What happened is unknown until the same call is repeated."""

    code = "gateway_timeout"


class GatewayUnavailable(Unavailable):
    """The gateway can't be reached, or its answer makes no sense. What happened is unknown here, too."""

    code = "gateway_unavailable"


class GatewayRefused(Exception):
    """The gateway rejects the call as wrong. A mistake in Souk; no money moved."""


class BadSignature(SoukError):
    """A webhook call that the gateway did not sign, or signed too long ago."""

    code = "bad_signature"


class PaymentGateway(Protocol):
    """Moves money, each key once, and answers or raises within 10 seconds.

    Any process may repeat a call after a crash, at any time until the payment is settled: the same key means the same
    call, and moves nothing a second time. All but `accepts` and `verify` raise `GatewayTimeout` or
    `GatewayUnavailable`.
    """

    @property
    def ledger(self) -> str | None:
        """The collection in the database of payments that has its own records; None if they are elsewhere."""

    def accepts(self, method: str) -> bool:
        """Whether this can be the name of one of the gateway's payment methods."""

    async def charge(self, charge: Charge) -> Answer:
        """Authorize the amount, or take it at once where the method can't be authorized, under `charge.payment_id`.

        Called again under that key, it gives the first call's answer.

        That answer may be out of date; `retrieve` returns the current state. Raises `GatewayRefused` for another charge
        under a used key. A charge that the gateway rejects for any reason is declined: nothing moved, and nothing will.
        """

    async def abandon(self, charge: Charge) -> Answer:
        """Make sure that a charge, which may have been made or not, takes nothing: the answer is how it stands then.

        Where nothing has moved it is declined, and a later call of `charge` under its key authorizes nothing.
        """

    async def capture(self, payment_id: str, reference: str) -> Answer:
        """Take the whole amount of an authorized charge, once. Declined if it can't be taken and never will be."""

    async def release(self, reference: str) -> Answer:
        """Give up an authorization. Declined once it is gone; captured if the money had moved already."""

    async def retrieve(self, reference: str) -> Found | None:
        """The current state of a charge; None for a charge that Souk did not make.

        A charge that still waits for the buyer's confirmation after the hold is cancelled, and declined. One whose
        authorization has lapsed is declined, too.
        """

    async def refund(self, payment_id: str, reference: str, attempt: int = 0) -> Refunds:
        """Send back what is left of a captured charge, under a key made of `payment_id` and `attempt`.

        An attempt that failed needs the next one. Raises `GatewayRefused` if no money was captured.
        """

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[ChargeRecord]:
        """Up to `limit` charges by ascending payment id above `after`; only those of `ids`, if given.

        For reconciliation. Raises `ChargesUnlisted` until the gateway's own records have been read.
        """

    def watching(self, hear: Hear, since: float) -> AbstractAsyncContextManager[None]:
        """In the background, `hear` of charges whose news no webhook call may have brought.

        `since` is the time from which there can be charges, in Unix seconds.
        """

    async def followed(self, found: Found) -> None:
        """The payment is saved as the charge was found: that is no news. Until then `watching` tells it again."""

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """The reference of the charge that a webhook call is about, or None.

        The names in `headers` are in lower case. Raises `BadSignature`.
        """
