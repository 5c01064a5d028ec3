"""What a browser brings back counts for what it was made for, and for nothing else."""

import time

import pytest

from web.security.csrf import SEALED_SECONDS, Csrf


def test_words_sealed_for_one_purpose_mean_nothing_for_another() -> None:
    csrf, words = Csrf("a secret"), ["one", "two"]
    sealed = csrf.seal("visit", "purchase", words)

    assert csrf.unseal("visit", "purchase", sealed) == words
    assert csrf.unseal("visit", "wish", sealed) is None
    assert csrf.unseal("another visit", "purchase", sealed) is None


def test_sealed_words_are_forgotten_before_the_key_of_a_purchase_is(monkeypatch: pytest.MonkeyPatch) -> None:
    csrf, now = Csrf("a secret"), time.time()
    sealed = csrf.seal("visit", "purchase", ["one"])

    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + SEALED_SECONDS - 60)
    assert csrf.unseal("visit", "purchase", sealed) == ["one"]
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + SEALED_SECONDS + 60)
    assert csrf.unseal("visit", "purchase", sealed) is None
