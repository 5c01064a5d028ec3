"""A small Stripe over real HTTP: what the gateway asks for, with idempotency keys, lists, webhook calls and bad days.

It keeps to docs.stripe.com where that is harder for the gateway: answers are kept under their key, also bad ones; a
failed intent lives on until it is cancelled; cancelling it forgets why it failed; a refund that was said to be done
fails later; and lists show the newest first, a page at a time.
"""

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
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

CARDS = {
    "card_visa",
    "card_visa_chargeDeclined",
    "card_authenticationRequired",
    "card_lost",
    "card_captureFails",
}
"""What follows `pm_` or `ctoken_`. The last two are not Stripe's: `card_lost` is charged, and the answer never comes;
`card_captureFails` is authorized, and the bank refuses the capture.
"""

GONE = {"failed", "canceled"}
"""The statuses of a refund that gives nothing back."""

BANK_HAS_IT = {"needs_response", "under_review", "lost"}
"""The statuses of a dispute in which the buyer's bank has the money."""


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
    """How a POST goes wrong: with an error, before the deed, without it though it is kept, or after it."""

    status: int
    code: str | None = None
    after_the_deed: bool = False
    in_its_place: bool = False


@dataclass
class FakeStripe:
    """Its state is open: tests look at it and change it."""

    webhook_url: str | None = None
    """Where news go by themselves, the newest first and the old ones again; None: tests carry them."""
    intents: dict[str, Json] = field(default_factory=dict)
    charges: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)
    disputes: dict[str, Json] = field(default_factory=dict)
    kept: dict[str, tuple[str, Json, int, Json]] = field(default_factory=dict)
    """By idempotency key: path and body of the call, status and body of its answer."""
    troubles: deque[Trouble] = field(default_factory=deque)
    """What happens to the next POSTs, one each."""
    before_cancelling: Callable[[], None] = lambda: None
    """What happens just before an intent is cancelled."""
    refunds_become: str = "succeeded"
    page_size: int = 100
    """How many things a page of a list has at most."""
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
        app.post("/v1/payment_intents/{intent_id}/capture")(self._capture)
        app.post("/v1/refunds")(self._refund)
        for name in ("charges", "refunds", "disputes", "events"):
            app.get(f"/v1/{name}")(self._list)
        return app

    def balance(self) -> int:
        """What was taken and not given back, or taken back."""
        taken: int = sum(i["amount_received"] for i in self.intents.values())
        back: int = sum(r["amount"] for r in self.refunds.values() if r["status"] not in GONE)
        disputed: int = sum(d["amount"] for d in self.disputes.values() if d["status"] in BANK_HAS_IT)
        return taken - back - disputed

    def reference_of(self, payment_id: str) -> str:
        """The id of the intent that was made for a payment."""
        [reference] = [i["id"] for i in self.intents.values() if i["metadata"]["payment_id"] == payment_id]
        return str(reference)

    def authenticate(self, client_secret: str, *, well: bool = True) -> None:
        """The buyer confirms with his bank, or fails to."""
        intent = self._with(client_secret, "requires_action")
        if well:
            self._authorize(intent)
        else:
            self._fail(intent, "payment_intent_authentication_failure")

    def confirm_again(self, client_secret: str) -> None:
        """The buyer's page tries a failed intent with a good card."""
        self._authorize(self._with(client_secret, "requires_payment_method"))

    def capture_by_hand(self, reference: str) -> None:
        """Somebody captures an intent in the dashboard."""
        self._take(self._known(reference))

    def lapse(self, reference: str) -> None:
        """The bank no longer keeps the amount ready."""
        intent = self._known(reference)
        assert intent["status"] == "requires_capture"
        intent["cancellation_reason"] = "automatic"
        self._becomes(intent, "canceled", "canceled")

    def refund_by_hand(self, reference: str, amount: int | None = None) -> Json:
        """Somebody refunds an intent in the dashboard."""
        return self._give_back({"payment_intent": reference} | ({"amount": amount} if amount else {}))

    def fail_refund(self, reference: str, reason: str = "expired_or_canceled_card") -> None:
        """The newest refund of an intent turns out not to have arrived."""
        refund = next(r for r in reversed(self.refunds.values()) if r["payment_intent"] == reference)
        refund |= {"status": "failed", "failure_reason": reason}
        self._charge_of(reference)["refunded"] = False
        self._tell("refund.failed", refund)
        self._tell("refund.updated", refund)

    def dispute(self, reference: str, status: str = "needs_response") -> Json:
        """The buyer's bank opens a dispute."""
        intent, charge = self._known(reference), self._charge_of(reference)
        charge["disputed"] = True
        dispute = self._new("dp", "dispute", amount=intent["amount"], payment_intent=reference, status=status)
        dispute |= {"charge": charge["id"], "reason": "fraudulent", "currency": intent["currency"]}
        self.disputes[dispute["id"]] = dispute
        self._tell("charge.dispute.created", dispute)
        return dispute

    def decide(self, dispute: Json, status: str) -> None:
        """The bank decides a dispute: "won" is for the shop."""
        dispute["status"] = status
        self._tell("charge.dispute.closed", dispute)

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
        return await self._post(request, lambda body: self._end(self._known(intent_id), body))

    async def _capture(self, request: Request, intent_id: str) -> Response:
        return await self._post(request, lambda _: self._take(self._known(intent_id)))

    async def _refund(self, request: Request) -> Response:
        return await self._post(request, self._give_back)

    async def _retrieve(self, request: Request, intent_id: str) -> Response:
        return self._answered(request, lambda: self._shown(self._known(intent_id), request.query_params))

    async def _search(self, request: Request) -> Response:
        [wanted] = re.findall(r"^metadata\['payment_id'\]:'(\w+)'$", request.query_params["query"])
        data = [i for i in self.intents.values() if i["metadata"].get("payment_id") == wanted]
        found = {"object": "search_result", "url": request.url.path, "has_more": False, "data": data}
        return self._answered(request, lambda: found)

    async def _list(self, request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        things = self.news if name == "events" else getattr(self, name).values()
        return self._answered(request, lambda: self._page(request, things))

    def _page(self, request: Request, things: Iterable[Json]) -> Json:
        query = request.query_params
        wanted = [thing for thing in reversed(list(things)) if _is_wanted(thing, query)]
        if after := query.get("starting_after"):
            wanted = wanted[[thing["id"] for thing in wanted].index(after) + 1 :]
        size = min(int(query.get("limit", 10)), self.page_size)
        return {
            "object": "list",
            "url": request.url.path,
            "has_more": len(wanted) > size,
            "data": [{**thing} for thing in wanted[:size]],
        }

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
        if trouble and not trouble.after_the_deed and not trouble.in_its_place:
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
                if trouble and trouble.in_its_place:
                    _raise(trouble)
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
        assert body["allowed_payment_method_types[0]"] == "card"
        assert body["capture_method"] == "manual"
        if int(body["amount"]) < 50:
            raise Refusal(400, "invalid_request_error", "amount_too_small", param="amount")
        if body.get("confirm") != "true":
            assert body.keys().isdisjoint({"payment_method", "confirmation_token", "use_stripe_sdk"})
            return {**self._new_intent(body, "requires_payment_method")}
        assert body["use_stripe_sdk"] == "true"
        kind, _, card = (body.get("payment_method") or body["confirmation_token"]).partition("_")
        if card not in CARDS or (kind == "pm") != ("payment_method" in body):
            raise Refusal(400, "invalid_request_error", "resource_missing", param="payment_method")
        intent = self._new_intent(body, "requires_confirmation")
        match card:
            case "card_visa_chargeDeclined":
                self._fail(intent, "card_declined")
                raise Refusal(402, "card_error", "card_declined", payment_intent={**intent})
            case "card_authenticationRequired":
                self._becomes(intent, "requires_action", "requires_action")
            case _:
                self._authorize(intent)
                intent["capture_fails"] = card == "card_captureFails"
        return self._shown(intent, {})

    def _new_intent(self, body: Json, status: str) -> Json:
        intent = self._new("pi", "payment_intent", amount=int(body["amount"]), currency=body["currency"], status=status)
        intent |= {
            "amount_received": 0,
            "client_secret": f"{intent['id']}_secret_{next(self._numbers)}",
            "metadata": {k[9:-1]: v for k, v in body.items() if k.startswith("metadata[")},
            "last_payment_error": None,
            "latest_charge": None,
            "cancellation_reason": None,
        }
        self.intents[intent["id"]] = intent
        return intent

    def _new_charge(self, intent: Json, failure: str | None) -> None:
        charge = self._new("ch", "charge", amount=intent["amount"], currency=intent["currency"], failure_code=failure)
        charge |= {"payment_intent": intent["id"], "metadata": {**intent["metadata"]}}
        charge |= {"captured": False, "refunded": False, "disputed": False}
        self.charges[charge["id"]] = intent["latest_charge"] = charge

    def _new(self, prefix: str, kind: str, **fields: Any) -> Json:
        return {"id": f"{prefix}_{next(self._numbers)}", "object": kind, "created": int(time.time()), **fields}

    def _authorize(self, intent: Json) -> None:
        intent["last_payment_error"] = None
        self._new_charge(intent, None)
        self._becomes(intent, "requires_capture", "amount_capturable_updated")

    def _take(self, intent: Json) -> Json:
        if intent["status"] != "requires_capture":
            raise Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")
        if intent.get("capture_fails"):
            raise Refusal(402, "card_error", "card_declined", payment_intent={**intent})
        intent["amount_received"] = intent["amount"]
        intent["latest_charge"]["captured"] = True
        self._becomes(intent, "succeeded", "succeeded")
        return self._shown(intent, {})

    def _fail(self, intent: Json, code: str) -> None:
        if code == "card_declined":
            self._new_charge(intent, code)
        intent["last_payment_error"] = {"code": code, "message": "no"}
        self._becomes(intent, "requires_payment_method", "payment_failed")

    def _end(self, intent: Json, body: Json) -> Json:
        self.before_cancelling()
        if intent["status"] in {"succeeded", "canceled", "processing"}:
            raise Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")
        intent |= {"last_payment_error": None, "cancellation_reason": body.get("cancellation_reason")}
        self._becomes(intent, "canceled", "canceled")
        return self._shown(intent, {})

    def _give_back(self, body: Json) -> Json:
        intent = self._known(body["payment_intent"])
        if intent["status"] != "succeeded":
            raise Refusal(400, "invalid_request_error", "payment_intent_unexpected_state")
        back = sum(r["amount"] for r in self._refunds_of(intent["id"]) if r["status"] not in GONE)
        amount = int(body.get("amount", intent["amount"] - back))
        if not amount or back + amount > intent["amount"]:
            raise Refusal(400, "invalid_request_error", "charge_already_refunded")
        refund = self._new("re", "refund", amount=amount, payment_intent=intent["id"], status=self.refunds_become)
        refund["failure_reason"] = "unknown" if self.refunds_become == "failed" else None
        self.refunds[refund["id"]] = refund
        charge = self._charge_of(intent["id"])
        charge["refunded"] = back + amount == intent["amount"] and self.refunds_become != "failed"
        self._tell("charge.refunded", charge)
        return {**refund}

    # --- State and news ---

    def _known(self, intent_id: str) -> Json:
        if intent_id not in self.intents:
            raise Refusal(404, "invalid_request_error", "resource_missing", param="intent")
        return self.intents[intent_id]

    def _with(self, client_secret: str, status: str) -> Json:
        [intent] = [i for i in self.intents.values() if i["client_secret"] == client_secret]
        assert intent["status"] == status
        return intent

    def _charge_of(self, reference: str) -> Json:
        charge: Json = self.intents[reference]["latest_charge"]
        return charge

    def _refunds_of(self, reference: str) -> list[Json]:
        return [refund for refund in self.refunds.values() if refund["payment_intent"] == reference]

    def _shown(self, intent: Json, query: Any) -> Json:
        charge = intent["latest_charge"]
        return {**intent, "latest_charge": charge if "expand[0]" in query else charge and charge["id"]}

    def _becomes(self, intent: Json, status: str, news: str) -> None:
        intent["status"] = status
        self._tell(f"payment_intent.{news}", self._shown(intent, {}))

    def _tell(self, kind: str, thing: Json) -> None:
        self.news.append(self._new("evt", "event", type=kind, data={"object": {**thing}}))
        if self.webhook_url:
            errand = asyncio.create_task(self._carry(self.webhook_url))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def _carry(self, url: str) -> None:
        """Bring the newest event, and then again all that went before."""
        async with httpx.AsyncClient(trust_env=False) as http:
            for event in reversed(self.news):
                body, headers = self.signed(event)
                with contextlib.suppress(httpx.TransportError):  # Whoever is gone is not told.
                    await http.post(url, content=body, headers=headers)


def _is_wanted(thing: Json, query: Mapping[str, str]) -> bool:
    """Whether a list with these parameters has this thing."""
    types = {value for name, value in query.items() if name.startswith("types[")}
    return (
        query.get("payment_intent") in {None, thing.get("payment_intent")}
        and (not types or thing.get("type") in types)
        and int(query.get("created[gte]", 0)) <= thing["created"] <= int(query.get("created[lte]", thing["created"]))
    )


def _raise(trouble: Trouble) -> Json:
    raise Refusal(trouble.status, "idempotency_error" if trouble.status == 409 else "api_error", trouble.code)
