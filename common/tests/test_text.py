"""What a line and a text that people type may contain."""

import re
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from common.text import LINE, SOME_TEXT, TEXT

LINES = TypeAdapter(Annotated[str, LINE])
TEXTS = TypeAdapter(Annotated[str, TEXT])
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
ENDS_OF_LINES = ["\n", "\t"]


@pytest.mark.parametrize("character", CONTROLS, ids=lambda c: f"U+{ord(c):04X}")
def test_a_line_has_no_control_character(character: str) -> None:
    with pytest.raises(ValidationError, match="control character"):
        LINES.validate_python(f"a{character}b")


@pytest.mark.parametrize("character", [c for c in CONTROLS if c not in ENDS_OF_LINES], ids=lambda c: f"U+{ord(c):04X}")
def test_a_text_has_no_control_character_but_the_end_of_a_line_and_the_tab(character: str) -> None:
    with pytest.raises(ValidationError, match="control character"):
        TEXTS.validate_python(f"a{character}b")


@pytest.mark.parametrize("text", ["", "a", "Grüße, 你好 \U0001f600", "a\u00a0b", "a\u200db"])
def test_anything_else_is_welcome(text: str) -> None:
    assert LINES.validate_python(text) == TEXTS.validate_python(text) == text


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\tb", "\r\n"])
def test_a_text_has_lines_and_tabs_as_browsers_send_them(text: str) -> None:
    assert TEXTS.validate_python(text) == text


@pytest.mark.parametrize("text", ["a", " a ", "\r\n\ta\n b\t\r", " \u00e9 "])
def test_the_document_says_that_some_text_is_more_than_white_space(text: str) -> None:
    assert re.search(SOME_TEXT.pattern, text)
    blank = re.sub(r"\S", " ", text)
    assert not blank.strip()
    assert re.search(TEXT.pattern, blank)
    assert not re.search(SOME_TEXT.pattern, blank)
