"""A small Stripe over real HTTP: what the gateway asks for, with idempotency keys, webhook calls and bad days.

It keeps to docs.stripe.com where that is harder for the gateway: answers are kept under their key, also bad ones; a
failed intent lives on until it is cancelled; and cancelling it forgets why it failed.
"""

import asyncio
import itertools
import json
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from payments.gateways.sandbox import signature

Json = dict[str, Any]

SECRET_KEY = "sk_test_of_the_small_stripe"
WEBHOOK_SECRET = "whsec_of_the_small_stripe"

CARDS = {"card_visa", "card_visa_chargeDeclined", "card_authenticationRequired", "card_lost"}
"""What follows `pm_` or `ctoken_`. Only `card_lost` is not Stripe's: its money moves, and the answer never comes."""


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, code: str | None, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"type": kind, "code": code, "message": f"the small Stripe says {code}", **more}}

    @classmethod
    def again(cls, status: int, body: Json) -> Self:
        """What was answered before."""
        refusal = cls(status, "", None)
        refusal.body = body
        return refusal


@dataclass
class Trouble:
    """How a POST goes wrong: with an error, before the deed or after it."""

    status: int
    code: str | None = None
    after_the_deed: bool = False


@dataclass
class FakeStripe:
    """Its state is open: tests look at it and change it."""

    webhook_url: str | None = None
    """Where news go by themselves, the newest first and the old ones again; None: tests carry them."""
    intents: dict[str, Json] = field(default_factory=dict)
    refunded: dict[str, Json] = field(default_factory=dict)
    """Refunds by their intent."""
    kept: dict[str, tuple[str, Json, int, Json]] = field(default_factory=dict)
    """By idempotency key: path and body of the call, status and body of its answer."""
    troubles: deque[Trouble] = field(default_factory=deque)
    """What happens to the next POSTs, one each."""
    before_cancelling: Callable[[], None] = lambda: None
    """What happens just before an intent is cancelled."""
    refunds_become: str = "succeeded"
    news: list[Json] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _errands: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def app(self) -> FastAPI:
        """The API, as the secret key sees it."""
        app = FastAPI()
        app.post("/v1/payment_intents")(self._create)
        app.get("/v1/payment_intents/search")(self._search)
        app.get("/v1/payment_intents/{intent_id}")(self._retrieve)
        app.post("/v1/payment_intents/{intent_id}/cancel")(self._cancel)
        app.post("/v1/refunds")(self._refund)
        return app

    def balance(self) -> int:
        """What was taken and not given back."""
        return sum(i["amount"] for i in self.intents.values() if i["status"] == "succeeded" and not self._back(i))

    def authenticate(self, client_secret: str, *, well: bool = True) -> None:
        """The buyer confirms with his bank, or fails to."""
        intent = self._with(client_secret, "requires_action")
        if well:
            self._take(intent)
        else:
            self._fail(intent, "payment_intent_authentication_failure")

    def confirm_again(self, client_secret: str) -> None:
        """The buyer's page tries a failed intent with a good card."""
        self._take(self._with(client_secret, "requires_payment_method"))

    def signed(
        self, event: Json, at: float | None = None, secret: str = WEBHOOK_SECRET
    ) -> tuple[bytes, dict[str, str]]:
        """The webhook call for an event."""
        body = json.dumps(event).encode()
        return body, self.signature_of(body, at, secret)

    def signature_of(self, body: bytes, at: float | None = None, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
        """The header that a webhook call with this body has."""
        now = int(at or time.time())
        return {"stripe-signature": f"t={now},v0=obsolete,v1={signature(secret, now, body)}"}

    # --- Calls ---

    async def _create(self, request: Request) -> Response:
        return await self._post(request, self._begin)

    async def _cancel(self, request: Request, intent_id: str) -> Response:
        return await self._post(request, lambda _: self._end(self._known(intent_id)))

    async def _refund(self, request: Request) -> Response:
        return await self._post(request, self._give_back)

    async def _retrieve(self, request: Request, intent_id: str) -> Response:
        return self._answered(request, lambda: self._shown(self._known(intent_id), request.query_params))

    async def _search(self, request: Request) -> Response:
        [wanted] = re.findall(r"^metadata\['payment_id'\]:'(\w+)'$", request.query_params["query"])
        data = [i for i in self.intents.values() if i["metadata"].get("payment_id") == wanted]
        found = {"object": "search_result", "url": request.url.path, "has_more": False, "data": data}
        return self._answered(request, lambda: found)

    def _answered(self, request: Request, answer: Callable[[], Json]) -> Response:
        self.calls.append(f"{request.method} {request.url.path}")
        try:
            if request.headers["authorization"] != f"Bearer {SECRET_KEY}":
                raise Refusal(401, "invalid_request_error", None)
            return JSONResponse(answer())
        except Refusal as refusal:
            return JSONResponse(refusal.body, refusal.status)

    async def _post(self, request: Request, deed: Callable[[Json], Json]) -> Response:
        trouble = self.troubles.popleft() if self.troubles else None
        key, body = request.headers["idempotency-key"], dict(parse_qsl((await request.body()).decode()))
        if trouble and not trouble.after_the_deed:
            return self._answered(request, lambda: _raise(trouble))
        new = key not in self.kept
        answer = self._answered(request, lambda: self._once(key, request.url.path, body, deed, trouble))
        if not new and answer.status_code != 400:
            answer.headers["Idempotent-Replayed"] = "true"
        if new and body.get("payment_method") == "pm_card_lost":
            while (await request.receive())["type"] != "http.disconnect":
                pass  # Nobody ever hears the answer.
        return answer

    def _once(self, key: str, path: str, body: Json, deed: Callable[[Json], Json], trouble: Trouble | None) -> Json:
        """Do it, or say again what was said under this key."""
        if key not in self.kept:
            try:
                status, answer = 200, deed(body)
                if trouble:
                    _raise(trouble)
            except Refusal as refusal:
                if refusal.status in {400, 404}:
                    raise  # It did not begin, so nothing is kept.
                status, answer = refusal.status, refusal.body
            self.kept[key] = (path, body, status, answer)
        first_path, first_body, status, answer = self.kept[key]
        if (first_path, first_body) != (path, body):
            raise Refusal(400, "idempotency_error", None)
        if status != 200:
            raise Refusal.again(status, answer)
        return answer

    # --- Deeds ---

    def _begin(self, body: Json) -> Json:
        assert (body["confirm"], body["use_stripe_sdk"]) == ("true", "true")
        assert body["allowed_payment_method_types[0]"] == "card"
        kind, _, card = (body.get("payment_method") or body["confirmation_token"]).partition("_")
        if card not in CARDS or (kind == "pm") != ("payment_method" in body):
            raise Refusal(400, "invalid_request_error", "resource_missing", param="payment_method")
        if int(body["amount"]) < 50:
            raise Refusal(400, "invalid_request_error", "amount_too_small", param="amount")
        name = f"pi_{next(self._numbers)}"
        intent: Json = {
            "id": name,
            "object": "payment_intent",
            "amount": int(body["amount"]),
            "currency": body["currency"],
            "client_secret": f"{name}_secret_{next(self._numbers)}",
            "metadata": {k[9:-1]: v for k, v in body.items() if k.startswith("metadata[")},
            "status": "requires_confirmation",
            "last_payment_error": None,
            "latest_charge": None,
            "cancellation_reason": None,
        }
        self.intents[name] = intent
        match card:
            case "card_visa_chargeDeclined":
                self._fail(intent, "card_declined")
                raise Refusal(402, "card_error", "card_declined", payment_intent={**intent})
            case "card_authenticationRequired":
                self._becomes(intent, "requires_action", "requires_action")
            case _:
                self._take(intent)
        return {**intent}

    def _take(self, intent: Json) -> None:
        intent["last_payment_error"] = None
        intent["latest_charge"] = {"id": f"ch_{intent['id']}", "object": "charge", "failure_code": None}
        self._becomes(intent, "succeeded", "succeeded")

    def _fail(self, intent: Json, code: str) -> None:
        if code == "card_declined":
            intent["latest_charge"] = {"id": f"ch_{intent['id']}", "object": "charge", "failure_code": code}
        intent["last_payment_error"] = {"code": code, "message": "no"}
        self._becomes(intent, "requires_payment_method", "payment_failed")

    def _end(self, intent: Json) -> Json:
        self.before_cancelling()
        if intent["status"] in {"succeeded", "canceled", "processing"}:
            raise Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")
        intent["last_payment_error"] = None
        self._becomes(intent, "canceled", "canceled")
        return self._shown(intent, {})

    def _give_back(self, body: Json) -> Json:
        intent = self._known(body["payment_intent"])
        if intent["status"] != "succeeded":
            raise Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")
        if self._back(intent):
            raise Refusal(400, "invalid_request_error", "charge_already_refunded")
        refund = {
            "id": f"re_{intent['id']}",
            "object": "refund",
            "payment_intent": intent["id"],
            "status": self.refunds_become,
        }
        self.refunded[intent["id"]] = refund
        self._tell("refund.created", refund)
        return refund

    # --- State and news ---

    def _known(self, intent_id: str) -> Json:
        if intent_id not in self.intents:
            raise Refusal(404, "invalid_request_error", "resource_missing", param="intent")
        return self.intents[intent_id]

    def _with(self, client_secret: str, status: str) -> Json:
        [intent] = [i for i in self.intents.values() if i["client_secret"] == client_secret]
        assert intent["status"] == status
        return intent

    def _back(self, intent: Json) -> bool:
        return intent["id"] in self.refunded

    def _shown(self, intent: Json, query: Any) -> Json:
        charge = intent["latest_charge"]
        return {**intent, "latest_charge": charge if "expand[0]" in query else charge and charge["id"]}

    def _becomes(self, intent: Json, status: str, news: str) -> None:
        intent["status"] = status
        self._tell(f"payment_intent.{news}", self._shown(intent, {}))

    def _tell(self, kind: str, thing: Json) -> None:
        event = {"id": f"evt_{next(self._numbers)}", "object": "event", "type": kind, "data": {"object": {**thing}}}
        self.news.append(event)
        if self.webhook_url:
            errand = asyncio.create_task(self._carry(self.webhook_url))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def _carry(self, url: str) -> None:
        """Bring the newest event, and then again all that went before."""
        async with httpx.AsyncClient(trust_env=False) as http:
            for event in reversed(self.news):
                body, headers = self.signed(event)
                await http.post(url, content=body, headers=headers)


def _raise(trouble: Trouble) -> Json:
    raise Refusal(trouble.status, "idempotency_error" if trouble.status == 409 else "api_error", trouble.code)
