"""Where real people buy, no service starts with what is for a laptop, and says so in a sentence."""

import pytest

from auth.settings import AuthSettings
from common.settings import SessionSettings, Settings, load
from notifications.settings import NotificationsSettings
from payments.settings import PaymentsSettings
from web.settings import WebSettings


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        (PaymentsSettings, {}, "PAYMENT_GATEWAY is wrong: Value error, ENV is prod, where the sandbox's play money"),
        (PaymentsSettings, {"PAYMENT_GATEWAY": "sandbox"}, "PAYMENT_GATEWAY is wrong: Value error, ENV is prod, where"),
        (WebSettings, {}, "SANDBOX is wrong: Value error, ENV is prod, where the sandbox's play money"),
        (
            WebSettings,
            {"SANDBOX": "true"},
            "SANDBOX is wrong: Value error, ENV is prod, where the sandbox's play money",
        ),
        (SessionSettings, {}, "COOKIE_SECURE is wrong: Value error, ENV is prod: people come over https"),
        (SessionSettings, {"COOKIE_SECURE": "false"}, "COOKIE_SECURE is wrong: Value error, ENV is prod: people come"),
        (
            NotificationsSettings,
            {"SMTP_URL": "smtp://mailbox:1025"},
            "SMTP_URL is wrong: Value error, mails would leave",
        ),
        (
            AuthSettings,
            {"MAIL_TOKEN_KEY": "dev_made_by_make_secrets"},
            "MAIL_TOKEN_KEY is wrong: Value error, it was made",
        ),
    ],
)
def test_what_is_for_a_laptop_is_refused_in_a_sentence(
    kind: type[Settings],
    given: dict[str, str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("PAYMENT_GATEWAY", "SANDBOX", "COOKIE_SECURE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ENV": "prod", **given}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit):
        load(kind)

    assert f"setting {why}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [AuthSettings, NotificationsSettings, PaymentsSettings, WebSettings])
def test_without_env_they_are_taken(
    kind: type[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ENV", raising=False)
    monkeypatch.setenv("MAIL_TOKEN_KEY", "dev_made_by_make_secrets")
    monkeypatch.setenv("SMTP_URL", "smtp://mailbox:1025")

    with pytest.raises(SystemExit):  # Others are missing.
        load(kind)

    assert not {"PAYMENT_GATEWAY", "SANDBOX", "COOKIE_SECURE", "SMTP_URL", "MAIL_TOKEN_KEY"} & set(
        capsys.readouterr().err.split()
    )
