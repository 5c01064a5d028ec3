"""`make operator` and `make reset-passkeys`, as far as they need no Souk."""

from pathlib import Path

import pytest

from infra.local.commands.accounts import COMMANDS, main


@pytest.mark.parametrize("target", COMMANDS)
def test_a_command_about_an_account_says_what_is_missing(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EMAIL", raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert main([target]) == 1
    assert capsys.readouterr().err == f"EMAIL is missing: make {target} EMAIL=ola@souk.test\n"

    monkeypatch.setenv("EMAIL", "ola@souk.test")
    assert main([target]) == 1
    assert "start it with `make dev`" in capsys.readouterr().err
