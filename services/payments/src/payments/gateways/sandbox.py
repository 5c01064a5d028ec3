"""A gateway without a bank: deterministic, inside the service, with a ledger of its own.

One write decides everything that a charge will ever do, so nothing is lost when the process dies.
The webhook calls are real HTTP, signed like Stripe's: HMAC-SHA256 over "timestamp.body".
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import httpx
from pydantic import BaseModel, ValidationError

from common.events import DisputeStatus
from common.leased_work import LeasedWork
from common.mongo.client import Collection, Document
from payments.gateways.port import (
    ABANDONED,
    CAPTURE_REFUSED,
    RELEASED,
    Answer,
    Authorized,
    BadSignature,
    Captured,
    Charge,
    ChargeRecord,
    Declined,
    Dispute,
    Found,
    GatewayRefused,
    GatewayTimeout,
    Hear,
    Processing,
    Refunds,
)
from payments.gateways.sandbox_store import SandboxLedger

SIGNATURE = "sandbox-signature"
SIGNATURE_TOLERANCE = timedelta(minutes=5)
"""How far the time of a signature may be from now. A recorded call can't be replayed later."""

REFERENCE = "ch_"
"""Prefix of the reference of every charge; the payment's id follows."""

REFUND_FAILURE, DISPUTE_REASON = "expired_or_canceled_card", "fraudulent"


@dataclass(frozen=True, slots=True)
class Card:
    """How a test payment method behaves. With `delay` the first answer is "processing"; None agrees at once.

    A method that can't be `authorized` is captured when it agrees.
    """

    declined: bool = False
    delay: timedelta | None = None
    after_the_hold: bool = False
    notices: int = 0
    answer_lost: bool = False
    authorized: bool = True
    capture_fails: bool = False
    refund_fails: timedelta | None = None
    """How long after it was accepted the first refund fails."""
    disputed: timedelta | None = None
    """How long after the capture the buyer's bank takes the money back."""
    part_refunded: timedelta | None = None
    """How long after the capture a third of the money goes back, as if somebody had refunded it at the provider."""

    def agrees_at(self, now: datetime, hold_ends_at: datetime) -> datetime:
        """When the amount is authorized, or captured, if it is not declined."""
        return (hold_ends_at if self.after_the_hold else now) + (self.delay or timedelta())


CARDS = {
    "pm_card_visa": Card(),
    "pm_card_declined": Card(declined=True),
    "pm_card_slow": Card(delay=timedelta(seconds=2), notices=1),
    "pm_card_late": Card(delay=timedelta(seconds=3), after_the_hold=True, notices=1),
    "pm_card_duplicate": Card(delay=timedelta(), notices=2),
    "pm_card_lost": Card(answer_lost=True),
    "pm_card_capture_fails": Card(capture_fails=True),
    "pm_card_refund_fails": Card(refund_fails=timedelta(seconds=2)),
    "pm_card_disputed": Card(disputed=timedelta(seconds=2)),
    "pm_card_partly_refunded": Card(part_refunded=timedelta(seconds=2)),
    "pm_bank": Card(delay=timedelta(seconds=2), notices=1, authorized=False),
    "pm_bank_late": Card(delay=timedelta(seconds=3), after_the_hold=True, notices=1, authorized=False),
}


class Notice(BaseModel):
    """The body of a webhook call: this charge has changed. The receiver asks the gateway how."""

    id: str
    reference: str


class SandboxGateway:
    """A `PaymentGateway` for laptops and tests. Made by `open`."""

    def __init__(self, ledger: SandboxLedger, secret: str, webhook_url: str, http: httpx.AsyncClient) -> None:
        self.ledger = ledger.collection.name
        self._ledger = ledger
        self._secret = secret
        self._webhook_url = webhook_url
        self._http = http
        self._webhooks = LeasedWork(
            ledger.collection, "notify_at", self._notify, poll_seconds=0.2, first_lease=2, max_lease=60
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, charges: Collection, secret: str, webhook_url: str) -> AsyncIterator[Self]:
        """Open the gateway. It keeps its ledger in `charges` and sends its webhook calls to `webhook_url`."""
        # trust_env: no proxy between this process and itself.
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            gateway = cls(SandboxLedger(charges), secret, webhook_url, http)
            async with gateway._webhooks.running():
                yield gateway

    def accepts(self, method: str) -> bool:
        """Whether there is such a test card."""
        return method in CARDS

    async def charge(self, charge: Charge) -> Answer:
        """`pm_card_lost` is authorized, and then the first call times out."""
        if charge.method not in CARDS:
            raise GatewayRefused(f"no such test card: {charge.method}")
        card = CARDS[charge.method]
        document = _document(charge, card)
        stored = await self._ledger.add(document)
        if stored is not document:
            if stored.get("ended") == ABANDONED:
                return Declined(REFERENCE + charge.payment_id, ABANDONED)
            if any(stored.get(name) != document[name] for name in ("amount", "currency", "method")):
                raise GatewayRefused(f"key {charge.payment_id} was used for another charge")
            return _answer(stored)
        if card.notices:
            self._webhooks.wake()
        if card.answer_lost:
            raise GatewayTimeout("the sandbox did not answer in time")
        return _answer(document)

    async def abandon(self, charge: Charge) -> Answer:
        await self._ledger.add({**_document(charge, Card()), "authorized_at": None, "ended": ABANDONED})
        return _answer_now(await self._ledger.end(charge.payment_id, ABANDONED, datetime.now(UTC)))

    async def capture(self, payment_id: str, reference: str) -> Answer:
        document = await self._ledger.find(payment_id)
        if document is None:
            raise GatewayRefused(f"there is no charge {reference}")
        card, now = CARDS[document["method"]], datetime.now(UTC)
        if card.capture_fails:
            answer = _answer_now(await self._ledger.end(payment_id, CAPTURE_REFUSED, now))
        else:
            later = {"disputed_at": card.disputed, "part_refund_at": card.part_refunded}
            times = {name: now + delay for name, delay in later.items() if delay}
            answer = _answer_now(await self._ledger.capture(payment_id, now, times))
        if not isinstance(answer, Captured | Declined):
            raise GatewayRefused(f"charge {reference} is not authorized")
        return answer

    async def release(self, reference: str) -> Answer:
        payment_id = reference.removeprefix(REFERENCE)
        return _answer_now(await self._ledger.end(payment_id, RELEASED, datetime.now(UTC)))

    async def retrieve(self, reference: str) -> Found | None:
        document = await self._ledger.find(reference.removeprefix(REFERENCE))
        return (
            Found(document["_id"], _answer_now(document), _refunds(document), _dispute(document)) if document else None
        )

    async def refund(self, payment_id: str, reference: str, attempt: int = 0) -> Refunds:
        """`pm_card_refund_fails` fails at the first attempt."""
        document = await self._ledger.find(payment_id) or {}
        fails = CARDS[document["method"]].refund_fails if document else None
        now = datetime.now(UTC)
        document = await self._ledger.refund(payment_id, now, now + fails if fails and not attempt else None) or {}
        if not document:
            raise GatewayRefused(f"charge {reference} has no money to give back")
        return _refunds(document)

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[ChargeRecord]:
        now = datetime.now(UTC)
        return [_record(document, now) for document in await self._ledger.page(after, limit, ids)]

    def watching(self, hear: Hear, since: float) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 - the port's
        """Every webhook call of the sandbox arrives, so there is nothing else to hear."""
        return contextlib.nullcontext()

    async def followed(self, found: Found) -> None:
        """Nothing is told again."""

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        return reference_in(body, headers, self._secret)

    async def _notify(self, payment_id: str) -> None:
        """Call the webhook as often as the card says, all at once. Done when every call was answered with 2xx."""
        now = datetime.now(UTC)
        await self._ledger.fail_refund(payment_id, REFUND_FAILURE, now)
        await self._ledger.refund_due_part(payment_id, now)
        charge = await self._ledger.find(payment_id) or {}
        notices = max(CARDS[charge["method"]].notices, 1)
        await asyncio.gather(*(self._call(payment_id, number) for number in range(notices)))
        await self._ledger.notified(charge)

    async def _call(self, payment_id: str, number: int) -> None:
        body = Notice(id=f"evt_{payment_id}_{number}", reference=REFERENCE + payment_id).model_dump_json().encode()
        now = int(datetime.now(UTC).timestamp())
        headers = {SIGNATURE: f"t={now},v1={signature(self._secret, now, body)}", "content-type": "application/json"}
        (await self._http.post(self._webhook_url, content=body, headers=headers)).raise_for_status()


def reference_in(body: bytes, headers: Mapping[str, str], secret: str) -> str | None:
    """The reference of the charge that a webhook call is about, or None. Raises `BadSignature`."""
    fields = [field.partition("=") for field in headers.get(SIGNATURE, "").split(",")]
    times = [value for name, _, value in fields if name == "t" and value.isdecimal() and len(value) <= 12]
    given = [value for name, _, value in fields if name == "v1"]
    if not times or not given:
        raise BadSignature("the call is not signed")
    wanted = signature(secret, int(times[0]), body)
    if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in given):
        raise BadSignature("the signature does not fit the call")
    if abs(datetime.now(UTC).timestamp() - int(times[0])) > SIGNATURE_TOLERANCE.total_seconds():
        raise BadSignature("the signature is too old")
    try:
        return Notice.model_validate_json(body).reference
    except ValidationError:
        return None


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 in hexadecimal over "timestamp.body"; `timestamp` is in Unix seconds."""
    return hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).hexdigest()


def _document(charge: Charge, card: Card) -> Document:
    """What the ledger keeps. Of a charge that will be captured by itself, it knows the time from the start."""
    agreed_at = None if card.declined else card.agrees_at(datetime.now(UTC), charge.hold_ends_at)
    document = {
        "_id": charge.payment_id,
        "amount": charge.amount,
        "currency": charge.currency,
        "method": charge.method,
        "authorized_at" if card.authorized else "captured_at": agreed_at,
    }
    return {**document, "notify_at": agreed_at} if card.notices else document


def _record(document: Document, now: datetime) -> ChargeRecord:
    captured_at = document.get("captured_at")
    return ChargeRecord(
        payment_id=document["_id"],
        amount=document["amount"],
        currency=document["currency"],
        captured=captured_at is not None and captured_at <= now,
        refunded="refunded_at" in document,
        disputed=(dispute := _dispute(document)) is not None and dispute.status is not DisputeStatus.WON,
        refunded_amount=_refunds(document).amount,
    )


def _refunds(document: Document) -> Refunds:
    returned = "refunded_at" in document
    amount = document["amount"] if returned else document.get("part_refunded", 0)
    return Refunds(returned, document.get("refund_failures", 0), document.get("refund_failure", ""), amount)


def _dispute(document: Document) -> Dispute | None:
    at = document.get("disputed_at")
    if at is None or at > datetime.now(UTC):
        return None
    return Dispute(DisputeStatus(document.get("dispute", DisputeStatus.OPEN)), DISPUTE_REASON, int(at.timestamp()))


def _answer(document: Document) -> Answer:
    """The answer to the call that made this charge, and to every later call under its key."""
    reference = REFERENCE + document["_id"]
    card = CARDS[document["method"]]
    if card.declined:
        return Declined(reference, "card_declined")
    if card.delay is not None:
        return Processing(reference)
    return Authorized(reference) if "authorized_at" in document else Captured(reference)


def _answer_now(document: Document) -> Answer:
    """The state of this charge now: a charge that was processing is agreed to when its time has come."""
    now, reference = datetime.now(UTC), REFERENCE + document["_id"]
    captured_at, authorized_at = document.get("captured_at"), document.get("authorized_at")
    if captured_at and captured_at <= now:
        return Captured(reference)
    if reason := document.get("ended"):
        return Declined(reference, reason)
    if authorized_at and authorized_at <= now:
        return Authorized(reference)
    return _answer(document)
