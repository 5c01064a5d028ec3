"""What a browser brings back counts for what it was made for, and for nothing else."""

from web.security.csrf import Csrf


def test_words_sealed_for_one_purpose_mean_nothing_for_another() -> None:
    csrf, words = Csrf("a secret"), ["one", "two"]
    sealed = csrf.seal("visit", "purchase", words)

    assert csrf.unseal("visit", "purchase", sealed) == words
    assert csrf.unseal("visit", "wish", sealed) is None
    assert csrf.unseal("another visit", "purchase", sealed) is None
