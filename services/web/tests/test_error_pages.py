"""Web answers errors with pages, also while the services are unavailable."""

import re

import httpx
import pytest

from common.ids import new_id
from infra.servers.process import free_port
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from web.main import app


@pytest.fixture
def services_unavailable(monkeypatch: pytest.MonkeyPatch, bus_url: str, tokens: Tokens) -> None:
    """Web's settings, with addresses at which no service listens."""
    for name in ("AUTH", "ITEMS", "ORDERS", "PAYMENTS", "AUDIT", "NOTIFICATIONS", "TICKETS"):
        monkeypatch.setenv(f"{name}_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("CSRF_SECRET", "a secret of the tests")
    monkeypatch.setenv("COOKIE_SECURE", "true")
    monkeypatch.setenv("NATS_URL", bus_url)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)


async def test_an_unavailable_service_is_a_page_not_a_trace(services_unavailable: None, tokens: Tokens) -> None:
    async with running(app) as client:
        client.cookies.set("__Host-session", tokens.token(person()))
        for path in ("/", f"/items/{new_id()}", "/my/orders", f"/orders/{new_id()}", "/my/sales", "/my/items"):
            answer = await client.get(path)
            assert answer.status_code == 503, path
            assert "Part of Souk is unavailable" in answer.text
            assert "Traceback" not in answer.text
            assert answer.headers["retry-after"] == "1"
            assert f'<a class="button" href="{path}">Try again</a>' in answer.text
            assert re.search(r'data-retry="\d+"', answer.text)


async def test_what_failed_to_be_sent_leads_back_to_its_page_and_is_not_sent_again(
    services_unavailable: None, tokens: Tokens
) -> None:
    order = new_id()
    async with running(app) as client:
        session = {"Cookie": f"__Host-session={tokens.token(person())}"}
        page = await client.get("/forgot-password", headers=session)
        token = re.search(r'name="form_token" value="([^"]+)"', page.text)
        assert token
        cookies = {"Cookie": f"{session['Cookie']}; __Host-visit={page.cookies['__Host-visit']}"}
        answer = await client.post(f"/orders/{order}/pay", data={"form_token": token[1]}, headers=cookies)

    assert answer.status_code == 503
    assert f'<a class="button" href="/orders/{order}">Try again</a>' in answer.text
    assert "data-retry" not in answer.text


async def test_a_form_that_needs_a_session_leads_to_the_sign_in_and_from_there_to_its_page(
    services_unavailable: None,
) -> None:
    order = new_id()
    async with running(app) as client:
        page = await client.get("/forgot-password")
        token = re.search(r'name="form_token" value="([^"]+)"', page.text)
        assert token
        visit = {"Cookie": f"__Host-visit={page.cookies['__Host-visit']}"}
        answer = await client.post(f"/orders/{order}/pay", data={"form_token": token[1]}, headers=visit)

    assert (answer.status_code, answer.headers["location"]) == (303, f"/signin?next=%2Forders%2F{order}")


@pytest.mark.parametrize(
    ("action", "page"),
    [
        ("/items/{id}/order", "/items/{id}"),
        ("/items/{id}/pictures/{id}/remove", "/items/{id}"),
        ("/orders/{id}/pay", "/orders/{id}"),
        ("/my/sales/{id}/refund", "/my/sales"),
        ("/my/sessions/end-others", "/my/sessions"),
        ("/signout", "/"),
        ("/language", "/"),
    ],
)
async def test_reloading_the_address_of_a_form_leads_to_its_page(
    services_unavailable: None, action: str, page: str
) -> None:
    known = new_id()
    async with running(app) as client:
        answer = await client.get(action.format(id=known))

    assert (answer.status_code, answer.headers["location"]) == (303, page.format(id=known))


async def test_who_somebody_is_while_auth_is_unavailable_is_unknown_and_no_sign_out(services_unavailable: None) -> None:
    async with running(app) as client:
        visit = (await client.get("/signin")).cookies
        cookies = {"Cookie": f"__Host-refresh={'a' * 64}; __Host-visit={visit['__Host-visit']}"}
        for answer in (
            await client.get("/my/orders", headers=cookies),
            await client.post("/sell", headers=cookies, data={"form_token": "x"}),
        ):
            assert answer.status_code == 503
            assert "set-cookie" not in answer.headers
        assert (await client.get("/signin", headers=cookies)).status_code == 200


async def test_web_is_ready_without_the_services(services_unavailable: None) -> None:
    async with running(app) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/signin")).status_code == 200


async def test_over_https_cookies_are_secure_and_browsers_stay_on_https(services_unavailable: None) -> None:
    async with running(app) as client:
        answer = await client.get("/signin")

    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
    assert "Secure" in answer.headers["set-cookie"]


async def test_over_https_no_other_host_of_the_site_can_set_a_cookie_that_counts(services_unavailable: None) -> None:
    async with running(app) as client:
        page = await client.get("/signin")
        name, _, value = page.headers["set-cookie"].partition(";")[0].partition("=")
        [token, *_] = re.findall(r'name="form_token" value="([^"]+)"', page.text)
        form = {"form_token": token, "language": "de", "theme": "dark", "back": "/"}
        answers = [
            await client.post(path, data=form, headers={"Cookie": f"{kept}={value}"})
            for kept in (name, "visit")
            for path in ("/language", "/theme")
        ]

    assert name == "__Host-visit"
    assert [answer.headers.get("set-cookie", "").partition("=")[0] for answer in answers] == [
        "__Host-language",
        "__Host-theme",
        "__Host-visit",
        "__Host-visit",
    ]
    assert [answer.status_code for answer in answers] == [303, 303, 403, 403]


async def test_an_unexpected_error_is_a_page_without_its_details(
    services_unavailable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret details")

    async with running(app) as client:
        monkeypatch.setattr(httpx.AsyncClient, "request", broken, raising=True)
        answer = await client.send(client.build_request("GET", "/"))

    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "secret details" not in answer.text
