"""The sandbox as a provider elsewhere: a process of its own, with its own ledger, that payments reaches over HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from typing import Any, Self

import httpx
from pydantic import TypeAdapter

from payments.gateways.port import (
    Answer,
    Authorized,
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
from payments.gateways.sandbox import CARDS, reference_in

TIMEOUT = 9.0
"""Seconds that one call may take."""

ANSWERS = {kind.__name__: kind for kind in (Authorized, Captured, Declined, Processing)}

_FOUND, _REFUNDS, _RECORDS = TypeAdapter(Found), TypeAdapter(Refunds), TypeAdapter(list[ChargeRecord])


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """An answer of a gateway, with the name of its class as `kind`."""
    return {"kind": type(answer).__name__, **asdict(answer)}


def answer_from_json(data: Mapping[str, Any]) -> Answer:
    """The answer that `answer_to_json` has written."""
    return ANSWERS[data["kind"]](**{name: value for name, value in data.items() if name != "kind"})


class RemoteSandbox:
    """A `PaymentGateway` before a sandbox that runs elsewhere. Made by `open`."""

    ledger = None

    def __init__(self, http: httpx.AsyncClient, secret: str) -> None:
        self._http = http
        self._secret = secret

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, secret: str) -> AsyncIterator[Self]:
        """Open the gateway to the provider at `url`, which signs its webhook calls with `secret`."""
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False) as http:
            yield cls(http, secret)

    def accepts(self, method: str) -> bool:
        """Whether there is such a test card."""
        return method in CARDS

    async def charge(self, charge: Charge) -> Answer:
        return answer_from_json(await self._call("/charges", _body(charge)))

    async def abandon(self, charge: Charge) -> Answer:
        return answer_from_json(await self._call("/abandoned", _body(charge)))

    async def capture(self, payment_id: str, reference: str) -> Answer:
        return answer_from_json(await self._call(f"/charges/{reference}/capture", {"payment_id": payment_id}))

    async def release(self, reference: str) -> Answer:
        return answer_from_json(await self._call(f"/charges/{reference}/release", {}))

    async def retrieve(self, reference: str) -> Found | None:
        found = await self._call(f"/charges/{reference}")
        return _FOUND.validate_python({**found, "answer": answer_from_json(found["answer"])}) if found else None

    async def refund(self, payment_id: str, reference: str, attempt: int = 0) -> Refunds:
        body = {"payment_id": payment_id, "attempt": attempt}
        return _REFUNDS.validate_python(await self._call(f"/charges/{reference}/refunds", body))

    async def charges(self, after: str, limit: int, ids: Sequence[str] | None) -> list[ChargeRecord]:
        asked = {"after": after, "limit": limit, "ids": None if ids is None else list(ids)}
        return _RECORDS.validate_python(await self._call("/list", asked))

    def watching(self, hear: Hear, since: float) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 - the port's
        """Every webhook call of the sandbox arrives, so there is nothing else to hear."""
        return contextlib.nullcontext()

    async def followed(self, found: Found) -> None:
        """Nothing is told again."""

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        return reference_in(body, headers, self._secret)

    async def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the provider: with a body to do something, else to tell something."""
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._http.request("GET" if body is None else "POST", path, json=body)
            match answer.status_code:
                case httpx.codes.CONFLICT:
                    raise GatewayRefused(answer.text)
                case httpx.codes.GATEWAY_TIMEOUT:
                    raise GatewayTimeout(answer.text)
            answer.raise_for_status()
            return answer.json()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise GatewayTimeout("the provider did not answer in time") from error
        except (httpx.HTTPError, ValueError) as error:
            raise GatewayUnavailable(f"the provider can't be reached: {error!r}") from error


def _body(charge: Charge) -> dict[str, Any]:
    return {**asdict(charge), "hold_ends_at": charge.hold_ends_at.isoformat()}
