"""Settings come from the environment or from secret files, and a missing one is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.settings import MongoSettings, load
from tests.support.sessions import Tokens


class ShelfSettings(MongoSettings):
    """A service's settings."""

    hold_seconds: int = 900


VALUES = {
    "NATS_URL": "nats://x:the-bus-password@127.0.0.1:4222",
    "JWT_PUBLIC_KEYS": Tokens().jwk_set,
    "MONGO_URL": "mongodb://x:the-database-password@127.0.0.1/x",
}

TAKEN = (
    *("ENV", "HOST", "PORT", "LOG_LEVEL", "LOG_FORMAT", "NATS_REPLICAS", "HOLD_SECONDS", "SECRETS_DIR"),
    *("TLS_CERT_FILE", "TLS_KEY_FILE"),
)
"""Those that have a default."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """All required settings, and no others."""
    for name in TAKEN:
        monkeypatch.delenv(name, raising=False)
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What a process that cannot start prints on standard error."""
    with pytest.raises(SystemExit) as end:
        load(ShelfSettings)
    assert end.value.code == 78
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLD_SECONDS", "5")
    monkeypatch.setenv("PORT", "8123")
    settings = load(ShelfSettings)
    assert settings.model_dump() == {
        "env": "dev",
        "host": "127.0.0.1",
        "port": 8123,
        "tls_cert_file": None,
        "tls_key_file": None,
        "log_level": "INFO",
        "log_format": None,
        "nats_url": SecretStr(VALUES["NATS_URL"]),
        "nats_replicas": 1,
        "jwt_public_keys": VALUES["JWT_PUBLIC_KEYS"],
        "cookie_secure": False,
        "require_verified_email": None,
        "require_passkey": None,
        "writes_per_minute": 600,
        "mongo_url": SecretStr(VALUES["MONGO_URL"]),
        "hold_seconds": 5,
    }


@pytest.mark.parametrize("name", VALUES)
def test_a_missing_setting_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(name)
    assert complaint(capsys) == (f"setting {name} is missing; set the environment variable or a file in SECRETS_DIR\n")


def test_all_missing_settings_are_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in VALUES:
        monkeypatch.delenv(name)
    said = complaint(capsys)
    assert all(f"setting {name} is missing" in said for name in VALUES)


def test_a_wrong_setting_is_named_and_its_value_kept_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLD_SECONDS", "my-password")
    said = complaint(capsys)
    assert said.startswith("setting HOLD_SECONDS is wrong: ")
    assert "my-password" not in said


def test_settings_come_from_secret_files_too_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("MONGO_URL")
    (tmp_path / "mongo_url").write_text("mongodb://from-a-file/x\n")
    (tmp_path / "nats_url").write_text("nats://from-a-file")
    (tmp_path / "unknown").write_text("of another service")

    settings = load(ShelfSettings)

    assert settings.mongo_url.get_secret_value() == "mongodb://from-a-file/x"
    assert settings.nats_url.get_secret_value() == VALUES["NATS_URL"]


@pytest.mark.parametrize("show", [repr, str, lambda settings: repr(settings.model_dump())], ids=["repr", "str", "dump"])
def test_settings_that_are_printed_show_no_password(show: Callable[[ShelfSettings], str]) -> None:
    shown = show(load(ShelfSettings))
    assert "hold_seconds" in shown
    assert "password" not in shown


@pytest.mark.parametrize("keys", ["", "none", "{}", '{"keys": []}', '{"keys": [{"kty": "x"}]}', "[]"])
def test_what_is_not_a_key_set_is_refused(
    keys: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JWT_PUBLIC_KEYS", keys)
    assert "JWT_PUBLIC_KEYS is wrong: Value error, it is not a JWK set" in complaint(capsys)


@pytest.mark.parametrize("url", ["dev_abc", "mongodb://shelf:dev_abc@127.0.0.1/shelf"])
def test_production_refuses_what_was_made_for_development(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NATS_URL", url)
    load(ShelfSettings)
    monkeypatch.setenv("ENV", "prod")

    said = complaint(capsys)

    assert "NATS_URL is wrong: Value error, it was made for development" in said
    assert "abc" not in said
