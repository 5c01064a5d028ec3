"""localstripe, a Stripe that others wrote, as a process of its own: it is GPL, so nothing of ours ever imports it."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from infra.servers.process import Child, free_port

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve

PROGRAM = """
import sys
from aiohttp import web
from localstripe import resources, server
type(resources.store).dump_to_disk = lambda self: None
web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""

YOUNGER = ("allowed_payment_method_types", "use_stripe_sdk")
"""Parameters that Stripe has had since localstripe was written."""


class Localstripe(Child):
    """Its state is gone when it ends."""

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-c", PROGRAM, str(self.port)]

    def environment(self) -> Mapping[str, str] | None:
        return None

    async def answers(self) -> bool:
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                return (await http.get(f"http://127.0.0.1:{self.port}/v1/refunds")).status_code == 401
            except httpx.TransportError:
                return False


@pytest_asyncio.fixture(scope="session")
async def localstripe(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """One for the whole run."""
    child = Localstripe("localstripe", tmp_path_factory.mktemp("localstripe"), free_port())
    await child.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{child.port}", trust_env=False) as http:
            yield http
    finally:
        await child.stop()


@asynccontextmanager
async def localstripe_for(localstripe: httpx.AsyncClient, serve: "Serve") -> AsyncIterator[str]:
    """The address of a localstripe that overlooks what it does not know."""
    port = free_port()
    async with serve(before(localstripe), port):
        yield f"http://127.0.0.1:{port}"


def before(localstripe: httpx.AsyncClient) -> FastAPI:
    """Hand calls on without the parameters that are too young, and answers with the fields that are."""

    async def hand_on(request: Request, path: str) -> JSONResponse:
        fields = (await request.body()).decode().split("&")
        body = "&".join(f for f in fields if not f.startswith(YOUNGER))
        headers = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        url = httpx.URL(path, query=request.url.query.encode())
        answer = await localstripe.request(request.method, url, content=body, headers=headers)
        return JSONResponse(_completed(answer.json()), answer.status_code)

    app = FastAPI()
    app.api_route("/{path:path}", methods=["GET", "POST"])(hand_on)
    return app


def _completed(answer: Any) -> Any:
    if isinstance(answer, dict) and answer.get("object") == "payment_intent":
        received = answer["amount"] if answer["status"] == "succeeded" else 0
        return {"amount_received": received, "cancellation_reason": None, **answer}
    return answer
