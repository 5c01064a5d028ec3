"""Who moves the money in the cases that every gateway passes.

Stripe comes up to three times: as a small one of ours with every bad day; as localstripe, which others wrote; and, with
a key of its test mode in STRIPE_TEST_KEY, as itself. Some cases can't be asked of all, and say so.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from stripe import HTTPXClient, StripeClient

from common.ids import new_id
from common.mongo.client import Database
from infra.servers.process import free_port
from payments.gateways.port import PaymentGateway, Processing
from payments.gateways.sandbox import REFERENCE, SandboxGateway, signature
from payments.gateways.sandbox_remote import RemoteSandbox
from payments.gateways.sandbox_store import SandboxLedger
from payments.gateways.stripe import StripeGateway
from services.payments.tests.localstripe import localstripe_for
from services.payments.tests.stripe_fake import SECRET_KEY, FakeStripe
from tests.support import provider

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve

SECRET = "what the provider signs with"


async def _by_itself(_: Processing) -> None:
    """Some charges need nobody."""


@dataclass
class Provider:
    """A gateway, and what a test must know about the provider behind it."""

    gateway: PaymentGateway
    good: str
    declined: str
    slow: str
    balance: Callable[[], Awaitable[int]]
    """Money taken and not given back."""
    signed: Callable[[str, datetime, str], tuple[bytes, Mapping[str, str]]]
    """A webhook call about a charge, signed at a time with a secret."""
    refund_by_hand: Callable[[str, int], Awaitable[object]]
    """Give so much of a charge back in the provider's dashboard. It takes the charge's reference."""
    loses_the_answer: str = ""
    refuses_the_capture: str = ""
    finish: Callable[[Processing], Awaitable[None]] = _by_itself
    """Do what a slow charge waits for."""


@dataclass(frozen=True)
class Place:
    """What providers are made of."""

    db: Database
    serve: "Serve"
    localstripe: httpx.AsyncClient


@asynccontextmanager
async def sandbox_provider(place: Place) -> AsyncIterator[Provider]:
    """The sandbox, its webhook calls going nowhere."""
    async with SandboxGateway.open(place.db.sandbox_charges, SECRET, "http://127.0.0.1:1/") as gateway:
        yield _sandbox(gateway, place.db)


@asynccontextmanager
async def remote_sandbox_provider(place: Place) -> AsyncIterator[Provider]:
    """The sandbox in a process of its own, as chaos has it."""
    port = free_port()
    async with (
        provider.opened(place.db, SECRET, "http://127.0.0.1:1/") as app,
        place.serve(app, port),
        RemoteSandbox.open(f"http://127.0.0.1:{port}", SECRET) as gateway,
    ):
        yield _sandbox(gateway, place.db)


def _sandbox(gateway: PaymentGateway, db: Database) -> Provider:
    async def balance() -> int:
        return await sandbox_money(db)

    async def refund_by_hand(reference: str, amount: int) -> None:
        payment_id, now = reference.removeprefix(REFERENCE), datetime.now(UTC)
        assert await SandboxLedger(db.sandbox_charges).refund_part(payment_id, amount, now)

    def signed(reference: str, at: datetime, secret: str) -> tuple[bytes, Mapping[str, str]]:
        body = b'{"id": "evt_1", "type": "charge.updated", "reference": "%b"}' % reference.encode()
        seconds = int(at.timestamp())
        return body, {"sandbox-signature": f"t={seconds},v1={signature(secret, seconds, body)}"}

    cards = ("pm_card_visa", "pm_card_declined", "pm_card_duplicate")
    return Provider(gateway, *cards, balance, signed, refund_by_hand, "pm_card_lost", "pm_card_capture_fails")


async def sandbox_money(db: Database) -> int:
    """What the sandbox has taken by now and not given back, over all charges."""
    moved = {"captured_at": {"$lte": datetime.now(UTC)}, "refunded_at": None}
    charges = await db.sandbox_charges.find(moved).to_list()
    return sum(charge["amount"] - charge.get("part_refunded", 0) for charge in charges)


@asynccontextmanager
async def small_stripe_provider(place: Place) -> AsyncIterator[Provider]:
    """Stripe's gateway before a Stripe of ours."""
    stripe, port = FakeStripe(), free_port()

    async def balance() -> int:
        return stripe.balance()

    async def finish(answer: Processing) -> None:
        stripe.authenticate(answer.client_secret or "")

    async def refund_by_hand(reference: str, amount: int) -> None:
        stripe.refund_by_hand(reference, amount)

    url, timeout = f"http://127.0.0.1:{port}", timedelta(seconds=10)
    opened = StripeGateway.open(SECRET_KEY, SECRET, url, place.db, timeout=timeout)
    async with place.serve(stripe.app, port), opened as gateway:
        stripe_there = _stripe(gateway, balance, finish, refund_by_hand)
        yield replace(stripe_there, loses_the_answer="pm_card_lost", refuses_the_capture="pm_card_captureFails")


@asynccontextmanager
async def localstripe_provider(place: Place) -> AsyncIterator[Provider]:
    """Stripe's gateway before localstripe."""
    async with localstripe_for(place.localstripe, place.serve) as url, account_at("sk_test_123", url) as account:
        slow = await account.v1.payment_methods.create_async(
            {"type": "card", "card": {"number": "4000002500003155", "exp_month": 12, "exp_year": 2040, "cvc": "123"}}
        )

        async def finish(answer: Processing) -> None:
            path = f"/v1/payment_intents/{answer.reference}/_authenticate"
            await account.raw_request_async("post", path, client_secret=answer.client_secret, success="true")

        async with StripeGateway.open("sk_test_123", SECRET, url, place.db) as gateway:
            stripe = _stripe(gateway, partial(_money_in, account, new_id()), finish, partial(_refund_by_hand, account))
            yield replace(stripe, declined="pm_card_chargeCustomerFail", slow=slow.id)


@asynccontextmanager
async def real_stripe_provider(place: Place) -> AsyncIterator[Provider]:
    """Stripe's gateway before Stripe, in test mode."""
    key = os.environ["STRIPE_TEST_KEY"]
    url = "https://api.stripe.com"
    async with account_at(key, url) as account, StripeGateway.open(key, SECRET, url, place.db) as gateway:
        money = partial(_money_in, account, new_id())
        yield _stripe(gateway, money, _by_itself, partial(_refund_by_hand, account))


@asynccontextmanager
async def account_at(key: str, url: str) -> AsyncIterator[StripeClient]:
    """The account behind a gateway, as its owner sees it."""
    http = HTTPXClient()
    yield StripeClient(key, http_client=http, base_addresses={"api": url})
    await http.close_async()  # type: ignore[no-untyped-call]


def _stripe(
    gateway: PaymentGateway,
    balance: Callable[[], Awaitable[int]],
    finish: Callable[[Processing], Awaitable[None]],
    refund_by_hand: Callable[[str, int], Awaitable[object]],
) -> Provider:
    def signed(reference: str, at: datetime, secret: str) -> tuple[bytes, Mapping[str, str]]:
        thing = {"id": reference, "object": "payment_intent"}
        event = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {"object": thing}}
        return FakeStripe().signed(event, at.timestamp(), secret)

    cards = ("pm_card_visa", "pm_card_visa_chargeDeclined", "pm_card_authenticationRequired")
    return Provider(gateway, *cards, balance, signed, refund_by_hand, finish=finish)


async def _refund_by_hand(account: StripeClient, reference: str, amount: int) -> None:
    await account.v1.refunds.create_async({"payment_intent": reference, "amount": amount})


async def _money_in(account: StripeClient, begun: str) -> int:
    """What the payments begun since have brought, less what went back."""
    intents = await account.v1.payment_intents.list_async({"limit": 100})
    paid = [i for i in intents.data if i.status == "succeeded" and "payment_id" in i.metadata]
    ours = {i.id: i.amount for i in paid if i.metadata["payment_id"] > begun}
    refunds = await account.v1.refunds.list_async({"limit": 100})
    return sum(ours.values()) - sum(r.amount for r in refunds.data if r.payment_intent in ours)


PROVIDERS: dict[str, Callable[[Place], AbstractAsyncContextManager[Provider]]] = {
    "sandbox": sandbox_provider,
    "remote sandbox": remote_sandbox_provider,
    "stripe": small_stripe_provider,
    "localstripe": localstripe_provider,
}
if "STRIPE_TEST_KEY" in os.environ:
    PROVIDERS["real"] = real_stripe_provider


def all_but(*lacking: str) -> pytest.MarkDecorator:
    """Ask a case of those that can be asked."""
    return pytest.mark.parametrize("provider", sorted(PROVIDERS.keys() - lacking), indirect=True)


honours_keys = all_but("localstripe")
"""localstripe looks at no Idempotency-Key: the same call again is another charge."""

tells_which_failed = all_but("localstripe")
"""localstripe does not say which intent a declined card was for."""

refunds_the_rest = all_but("localstripe")
"""localstripe gives the whole amount back once more where Stripe gives what is left."""

finishes_slow_charges = all_but("real")
"""Stripe's own test cards that wait for the buyer need him, and a browser."""

refuses_captures = all_but("localstripe", "real")
"""Nobody can make others refuse to capture what they have authorized."""

loses_answers = all_but("localstripe", "real")
"""Nobody can make others go silent."""
