"""Web's settings keep its secret to themselves."""

import pytest

from tests.support.sessions import Tokens
from web.settings import ADDRESSES, WebSettings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tokens: Tokens) -> WebSettings:
    """Settings with a secret for forms."""
    for name in ("AUTH", "ITEMS", "ORDERS", "PAYMENTS", "AUDIT", "NOTIFICATIONS", "TICKETS", "NATS"):
        monkeypatch.setenv(f"{name}_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)
    monkeypatch.setenv("CSRF_SECRET", "the-secret-of-the-forms")
    return WebSettings()


def test_no_secret_shows_in_the_settings_as_text(settings: WebSettings) -> None:
    assert settings.csrf_secret.get_secret_value() == "the-secret-of-the-forms"
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "the-secret-of-the-forms" not in text


def test_an_authority_goes_with_addresses_that_are_encrypted(
    settings: WebSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICES_CA_FILE", "/etc/souk-ca/ca.crt")
    monkeypatch.setenv("ITEMS_URL", "https://items:8000")
    with pytest.raises(ValueError, match=r"AUTH_URL, ORDERS_URL, .* would be called in the clear"):
        WebSettings()
    for name in ADDRESSES:
        monkeypatch.setenv(name.upper(), "https://items:8000")
    assert str(WebSettings().services_ca_file) == "/etc/souk-ca/ca.crt"
    assert settings.services_ca_file is None
