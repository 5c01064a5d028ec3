"""Bugs planted into a service at its start: `python -m tests.chaos.planted_bugs orders`. The checker must catch each.

A bug bites while the file named by BUG holds its name. So one stack serves for all of them, one after the other.
"""

import asyncio
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from common.bus.connection import Bus
from common.bus.consumers import Consumer
from common.bus.envelope import Envelope
from common.events import PaymentCaptured
from orders.desk import ReservationDesk
from orders.domain import Stock
from payments.cashier import Cashier
from payments.domain import Payment, PaymentStatus

BUGS = (
    "unguarded stock",
    "ack before write",
    "event lost after write",
    "deadline ignored",
    "refund twice",
    "refund never",
    "dropped dead letter",
)


IN_HAND = 0.3
"""Seconds for which a message that was acknowledged too early is in hand: who is killed meanwhile has lost it."""


def bites(bug: str) -> bool:
    """Whether this bug is the one that bites now."""
    assert bug in BUGS
    return Path(os.environ["BUG"]).read_text() == bug


def planted(owner: Any, name: str, bug: str, wrong: Callable[..., Any]) -> None:
    """Let `wrong` take the place of a method while the bug bites."""
    right = getattr(owner, name)

    def either(*args: Any, **kwargs: Any) -> Any:
        return (wrong if bites(bug) else right)(*args, **kwargs)

    setattr(owner, name, either)


def take_unguarded(stock: Stock, quantity: int) -> None:
    """Nobody looks whether so many are free."""
    stock.taken += quantity
    stock._changed()


right_take = Consumer._take


async def ack_first(consumer: Consumer, msg: Msg) -> None:
    """The message is done before anything is done about it, and what fails then has failed for good."""
    await msg.ack()

    async def no_more(**_: object) -> None:
        """The server knows nothing of it any more."""

    msg.ack = msg.nak = no_more  # type: ignore[assignment, method-assign]
    await asyncio.sleep(IN_HAND)
    await right_take(consumer, msg)


right_publish = Bus.publish


async def publish_some(bus: Bus, envelopes: Sequence[Envelope]) -> list[Envelope]:
    """Of what is said to be published, the news of captured money is not."""
    sent = await right_publish(bus, [e for e in envelopes if e.subject != PaymentCaptured.subject])
    return [e for e in envelopes if e in sent or e.subject == PaymentCaptured.subject]


async def nothing(*_: object, **__: object) -> None:
    """What should happen does not."""


right_owe = Payment.owe_refund


def owe_again(payment: Payment, *args: Any) -> None:
    """Asked for again, a refund that was made is made again."""
    if payment.status is PaymentStatus.REFUNDED:
        payment.status = PaymentStatus.CAPTURED
    right_owe(payment, *args)


right_post = JetStreamContext.publish


async def post_no_letter(js: JetStreamContext, subject: str, *args: Any, **kwargs: Any) -> Any:
    """What nobody can handle is forgotten."""
    return None if subject.startswith("dead_letters.") else await right_post(js, subject, *args, **kwargs)


def plant() -> None:
    """Plant every bug; none bites yet."""
    planted(Stock, "take", "unguarded stock", take_unguarded)
    planted(Consumer, "_take", "ack before write", ack_first)
    planted(Bus, "publish", "event lost after write", publish_some)
    planted(Payment, "owe_refund", "refund twice", owe_again)
    planted(Cashier, "owe_refund", "refund never", nothing)
    planted(ReservationDesk, "expire", "deadline ignored", nothing)
    planted(JetStreamContext, "publish", "dropped dead letter", post_no_letter)


if __name__ == "__main__":
    plant()
    sys.argv = sys.argv[1:]
    runpy.run_module(f"{sys.argv[0]}.main", run_name="__main__")
