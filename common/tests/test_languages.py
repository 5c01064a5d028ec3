"""What a browser asks for is answered in a language that Souk has."""

import pytest

from common.languages import accepted_locales, preferred_language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr", "en"),
        ("de-AT", "de"),
        ("DE", "de"),
        ("en;q=0.5, de;q=0.8", "de"),
        ("fr, en;q=0.9, de;q=0.9", "en"),
        ("de;q=0, en;q=0.1", "en"),
        ("; , x" * 50, "en"),
    ],
)
def test_the_language_of_souk_that_is_preferred(header: str, language: str) -> None:
    assert preferred_language(header) == language


def test_locales_come_in_the_order_of_their_weight() -> None:
    assert accepted_locales("en-GB;q=0.7, de-CH, fr;q=0.9, nonsense!") == ["de_CH", "fr", "en_GB"]
