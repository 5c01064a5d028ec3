"""Real money, moved by Stripe: one PaymentIntent for each payment, confirmed as it is made.

Nothing is tried again in here: what is not known is found again by the rounds, who outlive a crash.
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
    ChargesUnlisted,
    Declined,
    Entry,
    Found,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Processing,
)

log = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=9)
"""How long one operation may take with all its calls; a bank that is slow to authorise takes several seconds."""

TOLERANCE = timedelta(minutes=5)
"""How old the signature of a webhook call may be."""

KEYS_LAST = timedelta(hours=23)
"""Stripe forgets idempotency keys after 24 hours (docs.stripe.com/api/idempotent_requests); we stop trusting before."""

LAST_CHANCE = timedelta(minutes=5)
"""How long after the end of the hold a buyer who is at it may still confirm."""

_METHOD = re.compile(r"(pm|ctoken)_\w{1,90}", re.ASCII)
_NEWS = {"succeeded", "payment_failed", "canceled", "processing", "requires_action"}
_WITH_CHARGE = ["latest_charge"]


class StripeGateway:
    """A `PaymentGateway` for real money, or for Stripe's test mode, as the secret key says. Made by `open`."""

    def __init__(self, client: StripeClient, webhook_secret: str, patience: timedelta) -> None:
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._webhook_secret = webhook_secret
        self._patience = patience.total_seconds()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, secret_key: str, webhook_secret: str, api_url: str, patience: timedelta = PATIENCE
    ) -> AsyncIterator[Self]:
        """The gateway, with connections of its own."""
        logging.getLogger("stripe").setLevel(logging.WARNING)  # Below that it writes down what it sends.
        http = HTTPXClient(timeout=patience.total_seconds())
        client = StripeClient(secret_key, http_client=http, base_addresses={"api": api_url}, max_network_retries=0)
        try:
            yield cls(client, webhook_secret, patience)
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]

    def accepts(self, method: str) -> bool:
        """Whether this is named like a PaymentMethod or a ConfirmationToken, which the buyer's page makes."""
        return _METHOD.fullmatch(method) is not None

    async def charge(self, charge: Charge) -> Answer:
        """See `PaymentGateway`."""
        async with self._in_time():
            if time.time() - minted_at(charge.payment_id) > KEYS_LAST.total_seconds():
                return await self._search(charge.payment_id) or Declined("", "abandoned")
            try:
                intent = await self._intents.create_async(_order_of(charge), {"idempotency_key": charge.payment_id})
            except CardError as error:
                reason = error.code or "card_declined"
                made = error.error and error.error.payment_intent
                return await self._give_up(made.id, reason) if made else Declined("", reason)
            except InvalidRequestError as error:
                log.error("Stripe can't charge payment %s: %s", charge.payment_id, error)  # noqa: TRY400
                return Declined("", error.code or "invalid_request")
            except APIError as error:
                # Stripe keeps even an answer like 500 under its key: asking again brings no other.
                again = error.headers and error.headers.get("idempotent-replayed")
                if again and (found := await self._search(charge.payment_id)):
                    return found
                raise
            return await self._answer(intent)

    async def retrieve(self, reference: str) -> Found | None:
        """See `PaymentGateway`."""
        async with self._in_time():
            try:
                intent = await self._intents.retrieve_async(reference, {"expand": _WITH_CHARGE})
            except InvalidRequestError:
                return None
            if "payment_id" not in intent.metadata or "hold_ends_at" not in intent.metadata:
                return None  # The account may sell other things, too.
            return Found(intent.metadata["payment_id"], await self._answer(intent))

    async def refund(self, payment_id: str, reference: str) -> None:
        """See `PaymentGateway`. Without its key it is still done once: a charge has no more to give than itself."""
        wanted: RefundCreateParams = {"payment_intent": reference, "metadata": {"payment_id": payment_id}}
        async with self._in_time():
            try:
                refund = await self._refunds.create_async(wanted, {"idempotency_key": f"{payment_id}-refund"})
            except InvalidRequestError as error:
                if error.code == "charge_already_refunded":
                    return
                raise GatewayRefused(f"Stripe can't send {reference} back: {error}") from error
        if refund.status in {"failed", "canceled"}:
            raise GatewayRefused(f"Stripe did not send {reference} back: refund {refund.id} has {refund.status}")

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[Entry]:  # noqa: ARG002 - the port's
        """See `PaymentGateway`: Stripe's dashboard and reports are its books."""
        raise ChargesUnlisted("the books of Stripe are not read here")

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """See `PaymentGateway`."""
        signature = headers.get("stripe-signature")
        try:
            WebhookSignature.verify_header(body, signature, self._webhook_secret, int(TOLERANCE.total_seconds()))
        except (SignatureVerificationError, UnicodeDecodeError, TypeError) as error:  # TypeError: not ASCII
            raise BadSignature("Stripe has not signed this, or too long ago") from error
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

        An intent that failed can be confirmed again, with another card, by whoever has its secret. So "declined" is
        said only of one that is cancelled.
        """
        over = time.time() > int(intent.metadata["hold_ends_at"]) + LAST_CHANCE.total_seconds()
        match intent.status:
            case "succeeded":
                return Captured(intent.id)
            case "canceled":
                return Declined(intent.id, _reason(intent))
            case "requires_payment_method" if intent.last_payment_error:
                return await self._give_up(intent.id, _reason(intent))
            case "requires_action" if not over:
                return Processing(intent.id, intent.client_secret)
            case _ if over:
                return await self._give_up(intent.id, "abandoned")
            case _:
                return Processing(intent.id)

    async def _give_up(self, reference: str, reason: str) -> Answer:
        """Make sure that nobody pays this intent any more; unless somebody has, and then say so."""
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
        """What became of a payment, without its key; None where Stripe has none, or one that is seconds old."""
        found = await self._intents.search_async({"query": f"metadata['payment_id']:'{payment_id}'"})
        return await self._answer(found.data[0]) if found.data else None

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Give the calls inside their time, and say in the port's words what is not known after them."""
        try:
            async with asyncio.timeout(self._patience):
                yield
        except TimeoutError as error:
            raise GatewayTimeout("Stripe did not answer in time") from error
        except APIConnectionError as error:
            raise GatewayUnavailable("Stripe can't be reached") from error
        except IdempotencyError as error:
            raise GatewayRefused(f"Stripe knows this key for another call: {error}") from error
        except StripeError as error:
            # A wrong or revoked key (401, 403), too many calls (429), a key in use (409), trouble of theirs (5xx).
            what = error.code or type(error).__name__
            raise GatewayUnavailable(f"Stripe answered {error.http_status}: {what}") from error


def _order_of(charge: Charge) -> PaymentIntentCreateParams:
    """The call that makes and confirms an intent; always the same for the same charge, as its key demands.

    Stripe counts as we do, in the smallest unit, also yen; in what it counts otherwise (ISK, UGX, three decimals) we
    do not sell.
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
    """Why no money came; what the bank told the shop alone (a lost card, suspected fraud) stays untold."""
    error, charge = intent.last_payment_error, intent.latest_charge
    told = error.code if error else charge.failure_code if charge and not isinstance(charge, str) else None
    return told or intent.cancellation_reason or "canceled"
