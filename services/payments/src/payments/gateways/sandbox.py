"""A gateway without a bank: deterministic, inside the service, its ledger in a collection of its own.

Everything a charge will ever do is decided in the one write that makes it, so nothing is lost when the process dies.
The webhook calls are real HTTP, signed like Stripe's: HMAC-SHA256 over "timestamp.body".
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
from pydantic import BaseModel, ValidationError
from pymongo.errors import DuplicateKeyError

from common.mongo.client import AWAY, Collection, Document
from payments.gateways.port import (
    Answer,
    BadSignature,
    Captured,
    Charge,
    Declined,
    Entry,
    Found,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Processing,
)
from payments.leased_work import Rounds

SIGNATURE = "sandbox-signature"
TOLERANCE = timedelta(minutes=5)
"""How far the time of a signature may lie from now: what somebody recorded can't be played back later."""

REFERENCE = "ch_"
"""Begins the name of every charge; the payment's id follows."""


@dataclass(frozen=True, slots=True)
class Card:
    """How a test card behaves. With `delay` the first answer is "processing"; None captures at once."""

    declined: bool = False
    delay: timedelta | None = None
    after_the_hold: bool = False
    notices: int = 0
    answer_lost: bool = False

    def captures_at(self, now: datetime, hold_ends_at: datetime) -> datetime | None:
        """When the money moves; None: never."""
        if self.declined:
            return None
        return (hold_ends_at if self.after_the_hold else now) + (self.delay or timedelta())


CARDS = {
    "pm_card_visa": Card(),
    "pm_card_declined": Card(declined=True),
    "pm_card_slow": Card(delay=timedelta(seconds=2), notices=1),
    "pm_card_late": Card(delay=timedelta(seconds=3), after_the_hold=True, notices=1),
    "pm_card_duplicate": Card(delay=timedelta(), notices=2),
    "pm_card_lost": Card(answer_lost=True),
}


class Notice(BaseModel):
    """What a webhook call says: this charge has changed. How, whoever is called asks the gateway."""

    id: str
    reference: str


class SandboxGateway:
    """A `PaymentGateway` for laptops and tests. Made by `open`."""

    def __init__(self, ledger: Collection, secret: str, webhook_url: str, http: httpx.AsyncClient) -> None:
        self._ledger = ledger
        self._secret = secret
        self._webhook_url = webhook_url
        self._http = http
        self._courier = Rounds(ledger, "notify_at", self._notify, every=0.2, first=2, longest=60)

    @classmethod
    @asynccontextmanager
    async def open(cls, ledger: Collection, secret: str, webhook_url: str) -> AsyncIterator[Self]:
        """The gateway, its webhook calls going out to `webhook_url`."""
        # trust_env: a proxy has no business between this process and itself.
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            gateway = cls(ledger, secret, webhook_url, http)
            async with gateway._courier.running():
                yield gateway

    def accepts(self, method: str) -> bool:
        """Whether there is such a test card."""
        return method in CARDS

    async def charge(self, charge: Charge) -> Answer:
        """See `PaymentGateway`. `pm_card_lost` moves the money, and then the first call times out."""
        if charge.method not in CARDS:
            raise GatewayRefused(f"no such test card: {charge.method}")
        card = CARDS[charge.method]
        document = _entry(charge, card)
        with _away_is_unavailable():
            try:
                await self._ledger.insert_one(document)
            except DuplicateKeyError:
                first = await self._ledger.find_one({"_id": charge.payment_id}) or {}
                if any(first.get(name) != document[name] for name in ("amount", "currency", "method")):
                    raise GatewayRefused(f"key {charge.payment_id} was used for another charge") from None
                return _answer(first)
        if card.notices:
            self._courier.wake()
        if card.answer_lost:
            raise GatewayTimeout("the sandbox did not answer in time")
        return _answer(document)

    async def retrieve(self, reference: str) -> Found | None:
        """See `PaymentGateway`."""
        with _away_is_unavailable():
            document = await self._ledger.find_one({"_id": reference.removeprefix(REFERENCE)})
        return Found(document["_id"], _answer_today(document)) if document else None

    async def refund(self, payment_id: str, reference: str) -> None:
        """See `PaymentGateway`."""
        now = datetime.now(UTC)
        captured = {"_id": payment_id, "captured_at": {"$lte": now}}
        # The first refund's time stays: a charge has one refund, whoever asks how often.
        once = [{"$set": {"refunded_at": {"$ifNull": ["$refunded_at", now]}}}]
        with _away_is_unavailable():
            found = await self._ledger.update_one(captured, once)
        if not found.matched_count:
            raise GatewayRefused(f"charge {reference} has no money to give back")

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[Entry]:
        """See `PaymentGateway`."""
        wanted: dict[str, Any] = {"$gt": after} if ids is None else {"$gt": after, "$in": list(ids)}
        with _away_is_unavailable():
            found = await self._ledger.find({"_id": wanted}).sort("_id", 1).limit(limit).to_list()
        now = datetime.now(UTC)
        return [_state(document, now) for document in found]

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """See `PaymentGateway`."""
        fields = [field.partition("=") for field in headers.get(SIGNATURE, "").split(",")]
        times = [value for name, _, value in fields if name == "t" and value.isdecimal() and len(value) <= 12]
        given = [value for name, _, value in fields if name == "v1"]
        if not times or not given:
            raise BadSignature("the call is not signed")
        wanted = signature(self._secret, int(times[0]), body)
        if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in given):
            raise BadSignature("the signature does not fit the call")
        if abs(datetime.now(UTC).timestamp() - int(times[0])) > TOLERANCE.total_seconds():
            raise BadSignature("the signature is too old")
        try:
            return Notice.model_validate_json(body).reference
        except ValidationError:
            return None

    async def _notify(self, payment_id: str) -> None:
        """Call the webhook, as often as the card wants, all at once; done when every call was answered with 2xx."""
        entry = await self._ledger.find_one({"_id": payment_id}) or {}
        notices = CARDS[entry["method"]].notices
        await asyncio.gather(*(self._call(payment_id, number) for number in range(notices)))
        await self._ledger.update_one({"_id": payment_id}, {"$unset": {"notify_at": ""}})

    async def _call(self, payment_id: str, number: int) -> None:
        body = Notice(id=f"evt_{payment_id}_{number}", reference=REFERENCE + payment_id).model_dump_json().encode()
        now = int(datetime.now(UTC).timestamp())
        headers = {SIGNATURE: f"t={now},v1={signature(self._secret, now, body)}", "content-type": "application/json"}
        (await self._http.post(self._webhook_url, content=body, headers=headers)).raise_for_status()


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 in hexadecimal over "timestamp.body"; `timestamp` is in Unix seconds."""
    return hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).hexdigest()


def _entry(charge: Charge, card: Card) -> Document:
    captured_at = card.captures_at(datetime.now(UTC), charge.hold_ends_at)
    entry = {
        "_id": charge.payment_id,
        "amount": charge.amount,
        "currency": charge.currency,
        "method": charge.method,
        "captured_at": captured_at,
    }
    return {**entry, "notify_at": captured_at} if card.notices else entry


def _state(document: Document, now: datetime) -> Entry:
    captured_at = document["captured_at"]
    return Entry(
        payment_id=document["_id"],
        amount=document["amount"],
        currency=document["currency"],
        captured=captured_at is not None and captured_at <= now,
        refunded="refunded_at" in document,
    )


def _answer(document: Document) -> Answer:
    """What the call that made this charge is told, and every later call under its key."""
    reference = REFERENCE + document["_id"]
    card = CARDS[document["method"]]
    if card.declined:
        return Declined(reference, "card_declined")
    return Captured(reference) if card.delay is None else Processing(reference)


def _answer_today(document: Document) -> Answer:
    """What is true of this charge now: money that was under way arrives when its time comes."""
    answer = _answer(document)
    if isinstance(answer, Processing) and document["captured_at"] <= datetime.now(UTC):
        return Captured(answer.reference)
    return answer


@contextlib.contextmanager
def _away_is_unavailable() -> Iterator[None]:
    try:
        yield
    except AWAY as error:
        raise GatewayUnavailable("the sandbox's ledger is away") from error
