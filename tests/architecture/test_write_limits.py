"""Every service limits what one caller may change in a minute, and says so in its OpenAPI document."""

from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from common.http.sessions import Sessions
from common.http.write_limit import SAFE
from infra.services import NAMES
from tests.support.sessions import Tokens, person
from web.settings import WebSettings

LIMIT = 3


def app_of(service: str) -> FastAPI:
    app: FastAPI = import_module(f"{service}.main").app
    return app


def changes(app: FastAPI) -> list[dict[str, Any]]:
    """The operations of a service that change something."""
    paths = app.openapi()["paths"].values()
    return [operation for path in paths for method, operation in path.items() if method.upper() not in SAFE]


CHANGING = [service for service in NAMES if changes(app_of(service))]


def test_those_that_change_nothing_by_http_are_known() -> None:
    assert set(NAMES) - set(CHANGING) == {"expiration"}


@pytest.mark.parametrize("service", CHANGING)
def test_a_service_says_that_any_change_may_be_one_too_many(service: str) -> None:
    assert [o["operationId"] for o in changes(app_of(service)) if not {"429", "4XX"} & set(o["responses"])] == []


@pytest.mark.parametrize("service", CHANGING)
def test_a_service_hears_of_its_callers_and_their_limit_as_all_do(service: str) -> None:
    source = Path(import_module(f"{service}.main").__file__ or "").read_text()
    assert "live_sessions(" in source  # which gives the sessions the limit of the settings


@pytest.mark.parametrize("service", CHANGING)
async def test_one_caller_changes_so_much_in_a_minute_and_others_and_reads_are_free_of_it(
    service: str, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(service)
    sessions = Sessions(tokens.jwk_set, writes_per_minute=LIMIT)
    parts = {Sessions: sessions, WebSettings: WebSettings.model_construct(cookie_secure=False)}
    monkeypatch.setattr(app.state, "parts", parts, raising=False)
    headers, others = tokens.headers(person()), tokens.headers(person())
    path = "/metrics"  # which every service has, and of which web makes no page

    async def from_network(address: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 1), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://souk.test")

    async with await from_network("192.0.2.7") as http, await from_network("192.0.3.7") as elsewhere:
        allowed = [(await http.post(path, headers=headers)).status_code for _ in range(LIMIT)]
        refused = await elsewhere.put(path, headers=headers)

        assert 429 not in allowed
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60 / LIMIT
        assert (refused.json()["code"], refused.json()["retry_after"]) == ("too_many_requests", 20)
        assert [(await http.get(path, headers=headers)).status_code for _ in range(LIMIT + 1)] == [200] * (LIMIT + 1)
        assert (await http.post(path, headers=others)).status_code != 429

        nobody = [(await http.post(path)).status_code for _ in range(LIMIT + 1)]
        assert nobody[-1] == 429
        assert 429 not in nobody[:-1]
        assert (await elsewhere.post(path)).status_code != 429
