"""Bugs planted into a service at its start: `python -m tests.chaos.planted_bugs orders`. The checker must catch each.

A bug is active while the file named by BUG contains its name, so one stack can have all of them in turn.
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


HANDLING_DELAY = 0.3
"""Seconds between acknowledging a message too early and handling it. A process killed meanwhile loses the message."""


def is_active(bug: str) -> bool:
    """Return whether this is the bug that is active now."""
    assert bug in BUGS
    return Path(os.environ["BUG"]).read_text() == bug


def plant(owner: Any, name: str, bug: str, wrong: Callable[..., Any]) -> None:
    """Replace a method by `wrong` while the bug is active."""
    right = getattr(owner, name)

    def either(*args: Any, **kwargs: Any) -> Any:
        return (wrong if is_active(bug) else right)(*args, **kwargs)

    setattr(owner, name, either)


def take_unguarded(stock: Stock, quantity: int) -> None:
    """Take units without checking whether they are free."""
    stock.taken += quantity
    stock._changed()


right_take = Consumer._take


async def ack_first(consumer: Consumer, msg: Msg) -> None:
    """Acknowledge a message before it is handled: what fails then is never delivered again."""
    await msg.ack()

    async def no_more(**_: object) -> None:
        """Do nothing: the server has forgotten the message."""

    msg.ack = msg.nak = no_more  # type: ignore[assignment, method-assign]
    await asyncio.sleep(HANDLING_DELAY)
    await right_take(consumer, msg)


right_publish = Bus.publish


async def publish_some(bus: Bus, envelopes: Sequence[Envelope]) -> list[Envelope]:
    """Report all events as published, but do not publish captured payments."""
    sent = await right_publish(bus, [e for e in envelopes if e.subject != PaymentCaptured.subject])
    return [e for e in envelopes if e in sent or e.subject == PaymentCaptured.subject]


async def nothing(*_: object, **__: object) -> None:
    """Do nothing instead of what should be done."""


right_owe = Payment.owe_refund


def owe_again(payment: Payment, *args: Any) -> None:
    """Make a refund again if it is requested again."""
    if payment.status is PaymentStatus.REFUNDED:
        payment.status = PaymentStatus.CAPTURED
    right_owe(payment, *args)


right_post = JetStreamContext.publish


async def publish_no_dead_letter(js: JetStreamContext, subject: str, *args: Any, **kwargs: Any) -> Any:
    """Drop messages that no handler could handle."""
    return None if subject.startswith("dead_letters.") else await right_post(js, subject, *args, **kwargs)


def plant_all() -> None:
    """Plant every bug. None is active yet."""
    plant(Stock, "take", "unguarded stock", take_unguarded)
    plant(Consumer, "_take", "ack before write", ack_first)
    plant(Bus, "publish", "event lost after write", publish_some)
    plant(Payment, "owe_refund", "refund twice", owe_again)
    plant(Cashier, "owe_refund", "refund never", nothing)
    plant(ReservationDesk, "expire", "deadline ignored", nothing)
    plant(JetStreamContext, "publish", "dropped dead letter", publish_no_dead_letter)


if __name__ == "__main__":
    plant_all()
    sys.argv = sys.argv[1:]
    runpy.run_module(f"{sys.argv[0]}.main", run_name="__main__")
