"""Real money, moved by Stripe: one PaymentIntent for each payment, confirmed as it is made and captured by hand.

Nothing is retried in here. The leased work of the cashier finds open payments again, also after a crash.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Self, TypeVar

from stripe import (
    APIConnectionError,
    APIError,
    CardError,
    HTTPXClient,
    IdempotencyError,
    InvalidRequestError,
    PaymentIntent,
    RequestOptions,
    SignatureVerificationError,
    StripeClient,
    StripeError,
    WebhookSignature,
)
from stripe.params import PaymentIntentCancelParams, RefundCreateParams

from common.mongo.client import Database
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
    Found,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Hear,
    Processing,
    Refunds,
)
from payments.gateways.stripe_ledger import StripeLedger
from payments.gateways.stripe_objects import (
    HEARD,
    confirmed,
    intent_named_by,
    is_forgotten,
    is_replayed,
    marks_of,
    newest_dispute,
    reason_of,
    sum_of_refunds,
    unconfirmed,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

OPERATION_TIMEOUT = timedelta(seconds=9)
"""How long one operation may take with all its calls. A slow bank takes several seconds to authorise."""

SIGNATURE_TOLERANCE = timedelta(minutes=5)
"""How old the signature of a webhook call may be."""

CONFIRMATION_GRACE = timedelta(minutes=5)
"""How long after the end of the hold a buyer may still confirm."""

KEYS = 5
"""How many keys one call may use up, each of which Stripe answers with an error of its own, for ever."""

_METHOD = re.compile(r"(pm|ctoken)_\w{1,90}", re.ASCII)
_WITH_CHARGE = ["latest_charge"]


class StripeGateway:
    """A `PaymentGateway` for real money or Stripe's test mode, depending on the secret key. Made by `open`."""

    def __init__(self, client: StripeClient, webhook_secret: str, timeout: timedelta, ledger: StripeLedger) -> None:
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._disputes = client.v1.disputes
        self._webhook_secret = webhook_secret
        self._timeout = timeout.total_seconds()
        self.ledger = ledger.collection
        self._ledger = ledger

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        secret_key: str,
        webhook_secret: str,
        api_url: str,
        db: Database,
        *,
        list_seconds: float = 60,
        timeout: timedelta = OPERATION_TIMEOUT,
    ) -> AsyncIterator[Self]:
        """Open the gateway, with its own connections. It keeps a copy of Stripe's lists in `db`."""
        logging.getLogger("stripe").setLevel(logging.WARNING)  # At INFO it logs what it sends.
        http = HTTPXClient(timeout=timeout.total_seconds())
        client = StripeClient(secret_key, http_client=http, base_addresses={"api": api_url}, max_network_retries=0)
        try:
            yield cls(client, webhook_secret, timeout, StripeLedger(client, db, list_seconds))
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]

    def watching(self, hear: Hear, since: float) -> AbstractAsyncContextManager[None]:
        return self._ledger.watching(hear, since)

    async def followed(self, found: Found) -> None:
        if found.marks:
            await self._ledger.remember(found.payment_id, found.marks)

    def accepts(self, method: str) -> bool:
        """Whether this looks like the id of a PaymentMethod or a ConfirmationToken, which the buyer's page creates."""
        return _METHOD.fullmatch(method) is not None

    async def charge(self, charge: Charge) -> Answer:
        async with self._limited():
            try:
                return await self._make(charge)
            except IdempotencyError:
                return await self._unmake(charge)  # It was abandoned; or else the key is another charge's.

    async def abandon(self, charge: Charge) -> Answer:
        """Use the charge's key up for an intent that nobody confirms. If the charge was faster, cancel its intent."""
        async with self._limited():
            try:
                return await self._unmake(charge)
            except IdempotencyError:
                return await self._end(await self._make(charge))

    async def capture(self, payment_id: str, reference: str) -> Answer:
        """What can't be captured now is cancelled, so that it never will be."""
        async with self._limited():
            try:
                intent = await self._insist(
                    f"{payment_id}-capture", lambda key: self._intents.capture_async(reference, options=key)
                )
            except (CardError, InvalidRequestError) as error:
                return await self._cancel(reference, error.code or CAPTURE_REFUSED)
            answer = await self._answer(intent)
            if isinstance(answer, Captured):
                await self._ledger.keep(intent, marks=marks_of(intent))  # A capture is repeated until it is saved.
            return answer

    async def release(self, reference: str) -> Answer:
        async with self._limited():
            return await self._cancel(reference, RELEASED)

    async def retrieve(self, reference: str) -> Found | None:
        if not reference:
            return None
        async with self._limited():
            try:
                intent = await self._intents.retrieve_async(reference, {"expand": _WITH_CHARGE})
            except InvalidRequestError:
                return None
            if "payment_id" not in intent.metadata or "hold_ends_at" not in intent.metadata:
                return None  # The account may take other payments, too.
            payment_id = intent.metadata["payment_id"]
            if intent.status != "succeeded":
                return Found(payment_id, await self._answer(intent))
            refunds = (await self._refunds.list_async({"payment_intent": reference, "limit": 100})).data
            disputed = getattr(intent.latest_charge, "disputed", False)
            disputes = (await self._disputes.list_async({"payment_intent": reference})).data if disputed else []
            await self._ledger.keep(intent, refunds, disputes)
            return Found(
                payment_id,
                Captured(reference),
                sum_of_refunds(refunds, intent.amount_received),
                newest_dispute(disputes),
                marks_of(intent, refunds, disputes),
            )

    async def refund(self, payment_id: str, reference: str, attempt: int = 0) -> Refunds:
        """Under any key it is done once: Stripe refunds a charge only up to its amount."""
        wanted: RefundCreateParams = {"payment_intent": reference, "metadata": {"payment_id": payment_id}}
        key = f"{payment_id}-refund-{attempt}" if attempt else f"{payment_id}-refund"
        refused = ""
        async with self._limited():
            try:
                await self._insist(key, lambda options: self._refunds.create_async(wanted, options))
            except InvalidRequestError as error:
                refused = error.code or "refund_refused"
            found = await self.retrieve(reference)
        if found is None or not isinstance(found.answer, Captured):
            raise GatewayRefused(f"Stripe has no money of {reference} to give back: {refused}")
        if refused and not found.refunds.returned:
            return replace(found.refunds, reason=refused)
        return found.refunds

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[ChargeRecord]:
        return await self._ledger.charges(after, limit, ids)

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        signature = headers.get("stripe-signature")
        try:
            WebhookSignature.verify_header(
                body, signature, self._webhook_secret, int(SIGNATURE_TOLERANCE.total_seconds())
            )
        except (SignatureVerificationError, UnicodeDecodeError, TypeError) as error:  # TypeError: not ASCII
            raise BadSignature("Stripe did not sign this, or signed it too long ago") from error
        try:
            event = json.loads(body)
            return intent_named_by(event["data"]["object"]) if event["type"] in HEARD else None
        except (ValueError, KeyError, TypeError):
            return None

    async def _make(self, charge: Charge) -> Answer:
        """Create and confirm the intent. Raises `IdempotencyError` if the key was used for something else."""
        if is_forgotten(charge):
            return await self._search(charge.payment_id) or Declined("", ABANDONED)
        try:
            intent = await self._intents.create_async(confirmed(charge), {"idempotency_key": charge.payment_id})
        except CardError as error:
            reason = error.code or "card_declined"
            made = error.error and error.error.payment_intent
            return await self._cancel(made.id, reason) if made else Declined("", reason)
        except InvalidRequestError as error:
            log.error("Stripe can't charge payment %s: %s", charge.payment_id, error)  # noqa: TRY400
            return Declined("", error.code or "invalid_request")
        except APIError as error:
            if is_replayed(error) and (found := await self._search(charge.payment_id)):
                return found
            raise
        return await self._answer(intent)

    async def _unmake(self, charge: Charge) -> Answer:
        """Create an intent that nobody confirms under the charge's key, and cancel it. Raises `IdempotencyError`."""
        if is_forgotten(charge):
            return await self._end(await self._make(charge))
        try:
            intent = await self._intents.create_async(unconfirmed(charge), {"idempotency_key": charge.payment_id})
        except InvalidRequestError as error:
            return Declined("", error.code or "invalid_request")
        return await self._cancel(intent.id, ABANDONED)

    async def _end(self, answer: Answer) -> Answer:
        match answer:
            case Authorized(reference) | Processing(reference):
                return await self._cancel(reference, ABANDONED)
            case _:
                return answer

    async def _answer(self, intent: PaymentIntent) -> Answer:
        """What an intent's status means for the money.

        A failed intent can be confirmed again with another card, by anyone who has its secret. So only a cancelled
        intent is "declined".
        """
        over = time.time() > int(intent.metadata["hold_ends_at"]) + CONFIRMATION_GRACE.total_seconds()
        match intent.status:
            case "succeeded":
                return Captured(intent.id)
            case "requires_capture":
                return Authorized(intent.id)
            case "canceled":
                return Declined(intent.id, reason_of(intent))
            case "requires_payment_method" if intent.last_payment_error:
                return await self._cancel(intent.id, reason_of(intent))
            case "requires_action" if not over:
                return Processing(intent.id, intent.client_secret)
            case _ if over:
                return await self._cancel(intent.id, ABANDONED)
            case _:
                return Processing(intent.id)

    async def _cancel(self, reference: str, reason: str) -> Answer:
        """Cancel an intent, so that nobody can pay it any more. If it is paid already, return that."""
        why: PaymentIntentCancelParams = {"cancellation_reason": "abandoned"} if reason == ABANDONED else {}
        try:
            await self._intents.cancel_async(reference, why)
        except InvalidRequestError:
            intent = await self._intents.retrieve_async(reference, {"expand": _WITH_CHARGE})
            if intent.status == "succeeded":
                return Captured(reference)
            if intent.status != "canceled":
                return Processing(reference)
        return Declined(reference, reason)

    async def _search(self, payment_id: str) -> Answer | None:
        """The outcome of a payment, without its key. None if Stripe has none, or one that is only seconds old."""
        found = await self._intents.search_async({"query": f"metadata['payment_id']:'{payment_id}'"})
        return await self._answer(found.data[0]) if found.data else None

    @staticmethod
    async def _insist(key: str, call: Callable[[RequestOptions], Awaitable[T]]) -> T:
        """Make a call that Stripe does only once anyway, under the next key where it repeats an error of its own."""
        for number in range(KEYS - 1):
            try:
                return await call({"idempotency_key": f"{key}.{number}" if number else key})
            except APIError as error:
                if not is_replayed(error):
                    raise
        return await call({"idempotency_key": f"{key}.{KEYS - 1}"})

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Limit the time of the calls inside, and raise their failures as the port's errors."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError as error:
            raise GatewayTimeout("Stripe did not answer in time") from error
        except APIConnectionError as error:
            raise GatewayUnavailable("Stripe can't be reached") from error
        except IdempotencyError as error:
            raise GatewayRefused(f"Stripe knows this key for another call: {error}") from error
        except InvalidRequestError as error:
            raise GatewayRefused(f"Stripe finds fault with the call: {error}") from error
        except StripeError as error:
            # A wrong or revoked key (401, 403), too many calls (429), a key in use (409), a failure at Stripe (5xx).
            what = error.code or type(error).__name__
            raise GatewayUnavailable(f"Stripe answered {error.http_status}: {what}") from error
