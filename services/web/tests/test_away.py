"""With the services away, web answers with a page that says so."""

import httpx
import pytest

from infra.servers.process import free_port
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from web.main import app


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch, bus_url: str, tokens: Tokens) -> None:
    """Web's settings; nothing listens where the services should be."""
    for name in ("AUTH_URL", "ITEMS_URL", "ORDERS_URL", "PAYMENTS_URL", "AUDIT_URL"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("CSRF_SECRET", "a secret of the tests")
    monkeypatch.setenv("COOKIE_SECURE", "true")
    monkeypatch.setenv("NATS_URL", bus_url)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)


async def test_a_service_that_is_away_is_a_page_not_a_trace(nobody_answers: None, tokens: Tokens) -> None:
    async with running(app) as client:
        client.cookies.set("session", tokens.token(person()))
        for path in ("/", "/items/1", "/my/orders", "/orders/1", "/my/sales", "/my/items"):
            answer = await client.get(path)
            assert answer.status_code == 503, path
            assert "A part of Souk is away for a moment" in answer.text
            assert "Traceback" not in answer.text
            assert answer.headers["retry-after"] == "1"


async def test_web_is_ready_without_them(nobody_answers: None) -> None:
    async with running(app) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/signin")).status_code == 200


async def test_over_https_cookies_are_secure_and_browsers_told_to_stay(nobody_answers: None) -> None:
    async with running(app) as client:
        answer = await client.get("/signin")

    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
    assert "Secure" in answer.headers["set-cookie"]


async def test_an_error_of_ours_is_a_page(nobody_answers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret details")

    async with running(app) as client:
        monkeypatch.setattr(httpx.AsyncClient, "request", broken, raising=True)
        answer = await client.send(client.build_request("GET", "/"))

    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "secret details" not in answer.text
