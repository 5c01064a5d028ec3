"""A key that nobody could check is found before the first session is signed with it."""

import pytest

from auth.sessions.access_tokens import signing_key
from auth.settings import AuthSettings
from common.http.sessions import public_jwk
from common.settings import EX_CONFIG, load
from tests.support.sessions import Tokens

RFC_8037_KEY = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----"""


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch, keys: Tokens) -> None:
    monkeypatch.setenv("MONGO_URL", "mongodb://127.0.0.1/auth")
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1")
    monkeypatch.setenv("JWT_PUBLIC_KEYS", keys.jwk_set)
    monkeypatch.setenv("MAIL_TOKEN_KEY", "a key for mails of tests")
    monkeypatch.setenv("PUBLIC_URL", "http://localhost:8080")


def test_the_kid_is_the_thumbprint_of_the_standards_example() -> None:
    jwk = public_jwk(signing_key(RFC_8037_KEY).public_key())
    assert jwk["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # RFC 8037, A.3


def test_a_key_whose_public_half_is_known_is_taken_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, keys: Tokens
) -> None:
    monkeypatch.setenv("JWT_PRIVATE_KEY", keys.private_pem)

    settings = load(AuthSettings)

    assert settings.jwt_private_key.get_secret_value() == keys.private_pem
    assert keys.private_pem.splitlines()[1] not in repr(settings)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (RFC_8037_KEY, "JWT_PUBLIC_KEYS has no key with its kid kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        ("secret nonsense", "it is not an Ed25519 private key in PEM"),
    ],
)
def test_any_other_key_is_refused_in_a_sentence(
    pem: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JWT_PRIVATE_KEY", pem)

    with pytest.raises(SystemExit) as stopped:
        load(AuthSettings)

    assert stopped.value.code == EX_CONFIG
    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence.startswith("setting JWT_PRIVATE_KEY is wrong")
    assert why in sentence
    assert "nonsense" not in sentence


@pytest.mark.parametrize("jwk_set", ["nonsense", '{"keys": []}'])
def test_public_keys_that_are_none_are_a_sentence_too(
    jwk_set: str, monkeypatch: pytest.MonkeyPatch, keys: Tokens, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JWT_PRIVATE_KEY", keys.private_pem)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", jwk_set)

    with pytest.raises(SystemExit):
        load(AuthSettings)

    assert "setting JWT_PUBLIC_KEYS is wrong: Value error, it is not a JWK set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("env", "url", "why"),
    [
        ("dev", None, "setting PUBLIC_URL is missing"),
        ("prod", None, "setting PUBLIC_URL is missing"),
        ("prod", "http://souk.test", "setting PUBLIC_URL is wrong: Value error, ENV is prod: people come over https"),
        ("dev", "souk.test", "setting PUBLIC_URL is wrong: Value error, it is not the address of a site"),
    ],
)
def test_passkeys_need_the_address_of_the_site(
    env: str,
    url: str | None,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    keys: Tokens,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JWT_PRIVATE_KEY", keys.private_pem)
    monkeypatch.setenv("COOKIE_SECURE", "true")
    monkeypatch.setenv("ENV", env)
    monkeypatch.delenv("PUBLIC_URL")
    if url:
        monkeypatch.setenv("PUBLIC_URL", url)

    with pytest.raises(SystemExit):
        load(AuthSettings)

    assert why in capsys.readouterr().err
