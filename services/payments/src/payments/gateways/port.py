"""The port to whoever moves the money. `sandbox.py` is one gateway behind it; the cases in test_gateway.py bind all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from common.errors import NotFound, SoukError, Unavailable
from common.events import Currency


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
class Captured:
    """The money is here. `reference` is the gateway's name for the charge, here as below."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """No money moved, and none will. `reason` is a short stable word of the gateway's."""

    reference: str
    reason: str


@dataclass(frozen=True, slots=True)
class Processing:
    """The gateway will know later, and then call the webhook.

    With a `client_secret` it waits for the buyer: his page confirms with it. Nobody else may see it.
    """

    reference: str
    client_secret: str | None = field(default=None, repr=False)


Answer = Captured | Declined | Processing


@dataclass(frozen=True, slots=True)
class Found:
    """A charge as the gateway has it now, and the payment it was made for."""

    payment_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the money of a charge is now, as the gateway's own books say. `amount` is in minor units."""

    payment_id: str
    amount: int
    currency: str
    captured: bool
    refunded: bool

    def row(self) -> dict[str, object]:
        """The entry as who checks the books reads it."""
        return {
            "id": self.payment_id,
            "amount": self.amount,
            "currency": self.currency,
            "captured": self.captured,
            "refunded": self.refunded,
        }


class ChargesUnlisted(NotFound):
    """This gateway does not list its charges for us."""

    code = "charges_unlisted"


class GatewayTimeout(Unavailable):
    """No answer in time. Nobody knows what happened: only the same call again tells."""

    code = "gateway_timeout"


class GatewayUnavailable(Unavailable):
    """The gateway can't be reached, or answers nonsense. What happened is not known either."""

    code = "gateway_unavailable"


class GatewayRefused(Exception):
    """The gateway can make no sense of the call. A mistake of ours; nothing moved."""


class BadSignature(SoukError):
    """A webhook call that the gateway did not sign, or signed too long ago."""

    code = "bad_signature"


class PaymentGateway(Protocol):
    """Moves money, each key once, and answers or raises within 10 seconds.

    Every call may be made again after a crash, by anyone, at any time until the payment is settled: the same key means
    the same call, and moves nothing a second time. All but `accepts` and `verify` raise `GatewayTimeout` or
    `GatewayUnavailable`.
    """

    def accepts(self, method: str) -> bool:
        """Whether this can be the name of one of the gateway's payment methods."""

    async def charge(self, charge: Charge) -> Answer:
        """Take the money, under the key `charge.payment_id`; called again, give the first call's answer.

        That answer may be out of date: `retrieve` tells today's. `GatewayRefused` for another charge under a used key.
        A charge that the gateway finds fault with is declined, whoever's fault it is: nothing moved, and nothing will.
        """

    async def retrieve(self, reference: str) -> Found | None:
        """A charge as it is now; None for one that is not ours.

        One that still waits for the buyer to confirm when his hold is over is given up, and declined.
        """

    async def refund(self, payment_id: str, reference: str) -> None:
        """Send the whole amount of a captured charge back, under the key `payment_id`.

        Returns once the gateway has promised it. `GatewayRefused` where no money was captured.
        """

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[Entry]:
        """Up to `limit` charges by ascending payment id above `after`; of these `ids` only, where some are given.

        For who checks the books. Raises `ChargesUnlisted` where the gateway's own books are not read here.
        """

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """The reference of the charge that a webhook call is about; None if it is about none.

        `headers` finds names in lower case. Raises `BadSignature`.
        """
