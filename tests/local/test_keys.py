"""The key that signs sessions is replaced in steps, so that every token is known at every moment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.http.sessions import REMEMBERED_SECONDS
from infra.k8s.make_secrets import rotate
from infra.local.stack.keys import Keys
from infra.local.stack.program import passed_on
from infra.services import ROOT
from tests.support.stacks import free_block


def asked(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What a command says, and its exit code."""
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def known(keys: Keys) -> list[str]:
    """The ids of the public keys."""
    return [key["kid"] for key in json.loads(keys.public_keys)["keys"]]


def test_a_key_is_known_before_it_signs_and_after_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(tmp_path / "secrets")
    first = keys.public_jwk["kid"]
    assert known(keys) == [first]

    keys.add_key()
    _, second = known(keys)
    assert keys.public_jwk["kid"] == first
    keys.add_key()
    assert known(keys) == [first, second], "a rotation that broke off goes on with the same key"

    keys.sign_with_added_key()
    keys.sign_with_added_key()
    assert keys.public_jwk["kid"] == second
    assert sorted(known(keys)) == sorted([first, second])
    keys.finish_rotation()
    assert known(keys) == [second, first]
    assert not keys.rotating

    later = time.time() + REMEMBERED_SECONDS
    monkeypatch.setattr("time.time", lambda: later)
    assert known(keys) == [second], "its last token has expired"
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "secrets").iterdir()} == {0o600}


def test_the_steps_on_a_cluster_come_in_their_order(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "secrets/auth")
    first = keys.public_jwk["kid"]

    with pytest.raises(ValueError, match="it is add, and then sign"):
        rotate("sign", tmp_path)
    rotate("add", tmp_path)
    assert keys.public_jwk["kid"] == first
    rotate("sign", tmp_path)

    assert keys.public_jwk["kid"] != first
    assert first in known(keys)


@pytest.mark.servers
@pytest.mark.prove
def test_make_rotate_keys_gives_the_running_souk_a_new_key(tmp_path: Path) -> None:
    env = {**passed_on(), "DATA_DIR": str(tmp_path / "data"), "PORT": str(free_block())}
    command = [sys.executable, "-m", "infra.local.commands.rotate_keys"]
    nothing = asked(command, env)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no Souk runs" in nothing.stderr
    log = (tmp_path / "log").open("w")
    souk = subprocess.Popen(
        [sys.executable, "-m", "infra.local"], env=env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 120
        while "ready:" not in (said := (tmp_path / "log").read_text()):
            assert souk.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        keys = Keys(tmp_path / "data/secrets")
        before = keys.public_jwk["kid"]

        done = asked(command, env)

        assert (done.returncode, done.stderr) == (0, "")
        assert "sessions are signed with a new key" in done.stdout
        assert known(keys) == [keys.public_jwk["kid"], before]
        assert keys.public_jwk["kid"] != before
    finally:
        if souk.poll() is None:
            os.kill(souk.pid, signal.SIGINT)
            souk.wait(60)
        log.close()
    assert "Traceback" not in (tmp_path / "log").read_text()
