"""Real money, moved by Stripe: one PaymentIntent for each payment, confirmed as it is made.

Nothing is retried in here. The leased work of the cashier finds open payments again, also after a crash.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

from stripe import (
    APIConnectionError,
    APIError,
    CardError,
    HTTPXClient,
    IdempotencyError,
    InvalidRequestError,
    PaymentIntent,
    SignatureVerificationError,
    StripeClient,
    StripeError,
    WebhookSignature,
)
from stripe.params import PaymentIntentCreateParams, RefundCreateParams

from common.ids import minted_at
from payments.gateways.port import (
    Answer,
    BadSignature,
    Captured,
    Charge,
    ChargeRecord,
    ChargesUnlisted,
    Declined,
    Found,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Processing,
)

log = logging.getLogger(__name__)

OPERATION_TIMEOUT = timedelta(seconds=9)
"""How long one operation may take with all its calls. A slow bank takes several seconds to authorise."""

SIGNATURE_TOLERANCE = timedelta(minutes=5)
"""How old the signature of a webhook call may be."""

IDEMPOTENCY_KEY_LIFETIME = timedelta(hours=23)
"""Stripe forgets idempotency keys after 24 hours (docs.stripe.com/api/idempotent_requests); this is a little less."""

CONFIRMATION_GRACE = timedelta(minutes=5)
"""How long after the end of the hold a buyer may still confirm."""

_METHOD = re.compile(r"(pm|ctoken)_\w{1,90}", re.ASCII)
_NEWS = {"succeeded", "payment_failed", "canceled", "processing", "requires_action"}
_WITH_CHARGE = ["latest_charge"]


class StripeGateway:
    """A `PaymentGateway` for real money or Stripe's test mode, depending on the secret key. Made by `open`."""

    def __init__(self, client: StripeClient, webhook_secret: str, timeout: timedelta) -> None:
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._webhook_secret = webhook_secret
        self._timeout = timeout.total_seconds()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, secret_key: str, webhook_secret: str, api_url: str, timeout: timedelta = OPERATION_TIMEOUT
    ) -> AsyncIterator[Self]:
        """Open the gateway, with its own connections."""
        logging.getLogger("stripe").setLevel(logging.WARNING)  # At INFO it logs what it sends.
        http = HTTPXClient(timeout=timeout.total_seconds())
        client = StripeClient(secret_key, http_client=http, base_addresses={"api": api_url}, max_network_retries=0)
        try:
            yield cls(client, webhook_secret, timeout)
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]

    def accepts(self, method: str) -> bool:
        """Whether this looks like the id of a PaymentMethod or a ConfirmationToken, which the buyer's page creates."""
        return _METHOD.fullmatch(method) is not None

    async def charge(self, charge: Charge) -> Answer:
        async with self._limited():
            if time.time() - minted_at(charge.payment_id) > IDEMPOTENCY_KEY_LIFETIME.total_seconds():
                return await self._search(charge.payment_id) or Declined("", "abandoned")
            try:
                intent = await self._intents.create_async(_intent_for(charge), {"idempotency_key": charge.payment_id})
            except CardError as error:
                reason = error.code or "card_declined"
                made = error.error and error.error.payment_intent
                return await self._cancel(made.id, reason) if made else Declined("", reason)
            except InvalidRequestError as error:
                log.error("Stripe can't charge payment %s: %s", charge.payment_id, error)  # noqa: TRY400
                return Declined("", error.code or "invalid_request")
            except APIError as error:
                # Stripe stores even a 500 under its key: asking again brings the same answer.
                again = error.headers and error.headers.get("idempotent-replayed")
                if again and (found := await self._search(charge.payment_id)):
                    return found
                raise
            return await self._answer(intent)

    async def retrieve(self, reference: str) -> Found | None:
        async with self._limited():
            try:
                intent = await self._intents.retrieve_async(reference, {"expand": _WITH_CHARGE})
            except InvalidRequestError:
                return None
            if "payment_id" not in intent.metadata or "hold_ends_at" not in intent.metadata:
                return None  # The account may take other payments, too.
            return Found(intent.metadata["payment_id"], await self._answer(intent))

    async def refund(self, payment_id: str, reference: str) -> None:
        """Without its key it is still done once: Stripe refunds a charge only up to its amount."""
        wanted: RefundCreateParams = {"payment_intent": reference, "metadata": {"payment_id": payment_id}}
        async with self._limited():
            try:
                refund = await self._refunds.create_async(wanted, {"idempotency_key": f"{payment_id}-refund"})
            except InvalidRequestError as error:
                if error.code == "charge_already_refunded":
                    return
                raise GatewayRefused(f"Stripe can't send {reference} back: {error}") from error
        if refund.status in {"failed", "canceled"}:
            raise GatewayRefused(f"Stripe did not send {reference} back: refund {refund.id} has {refund.status}")

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[ChargeRecord]:  # noqa: ARG002 - the port's
        """Always raises `ChargesUnlisted`: use Stripe's dashboard and reports."""
        raise ChargesUnlisted("the charges at Stripe are not read here")

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
            kind, thing = str(event["type"]), event["data"]["object"]
            if kind == "refund.failed":
                log.error("refund %s of %s has failed: pay it back by hand", thing["id"], thing["payment_intent"])
            family, _, news = kind.partition(".")
            return str(thing["id"]) if family == "payment_intent" and news in _NEWS else None
        except (ValueError, KeyError, TypeError):
            return None

    async def _answer(self, intent: PaymentIntent) -> Answer:
        """What an intent's status means for the money.

        A failed intent can be confirmed again with another card, by anyone who has its secret. So only a cancelled
        intent is "declined".
        """
        over = time.time() > int(intent.metadata["hold_ends_at"]) + CONFIRMATION_GRACE.total_seconds()
        match intent.status:
            case "succeeded":
                return Captured(intent.id)
            case "canceled":
                return Declined(intent.id, _reason(intent))
            case "requires_payment_method" if intent.last_payment_error:
                return await self._cancel(intent.id, _reason(intent))
            case "requires_action" if not over:
                return Processing(intent.id, intent.client_secret)
            case _ if over:
                return await self._cancel(intent.id, "abandoned")
            case _:
                return Processing(intent.id)

    async def _cancel(self, reference: str, reason: str) -> Answer:
        """Cancel an intent, so that nobody can pay it any more. If it is paid already, return that."""
        try:
            await self._intents.cancel_async(reference)
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
        except StripeError as error:
            # A wrong or revoked key (401, 403), too many calls (429), a key in use (409), a failure at Stripe (5xx).
            what = error.code or type(error).__name__
            raise GatewayUnavailable(f"Stripe answered {error.http_status}: {what}") from error


def _intent_for(charge: Charge) -> PaymentIntentCreateParams:
    """The parameters that create and confirm an intent: always the same for the same charge, as its key requires.

    Stripe counts in the smallest unit, as Souk does. Souk does not sell in the currencies where Stripe differs (ISK,
    UGX, those with three decimals).
    """
    order: PaymentIntentCreateParams = {
        "amount": charge.amount,
        "currency": charge.currency.lower(),
        "allowed_payment_method_types": ["card"],
        "confirm": True,
        "use_stripe_sdk": True,  # The buyer confirms on our page, through Stripe.js.
        "metadata": {
            "payment_id": charge.payment_id,
            "order_id": charge.order_id,
            "hold_ends_at": str(int(charge.hold_ends_at.timestamp())),
        },
    }
    order["confirmation_token" if charge.method.startswith("ctoken_") else "payment_method"] = charge.method
    return order


def _reason(intent: PaymentIntent) -> str:
    """Why no money came. What the bank reports to the shop alone (a lost card, suspected fraud) is left out."""
    error, charge = intent.last_payment_error, intent.latest_charge
    code = error.code if error else charge.failure_code if charge and not isinstance(charge, str) else None
    return code or intent.cancellation_reason or "canceled"
