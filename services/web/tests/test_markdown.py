"""Descriptions may be emphasized, and can do no harm."""

from html.parser import HTMLParser

import pytest

from web.rendering.markdown import markdown, plain


class Parts(HTMLParser):
    """The tags and attributes that a browser sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.attributes |= {name: value or "" for name, value in attrs}


def test_paragraphs_lists_emphasis_and_line_breaks_are_shown() -> None:
    html = markdown("Old, *rewired*.\nStays.\n\n- bring **shoes**\n- no dogs")

    assert "<p>Old, <em>rewired</em>.<br" in html
    assert "<li>bring <strong>shoes</strong></li>" in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](https://tracker.test/pixel.gif)",
        '[x](https://a.test "\\" onmouseover=\\"alert(1)")',
        '<https://a.test/"onmouseover=alert(1)>',
        "# A heading of the page",
        "[a]: javascript:alert(1)\n\n[a]",
    ],
)
def test_nothing_runs_loads_or_looks_like_the_page_itself(text: str) -> None:
    parts = Parts()
    parts.feed(markdown(text))

    assert parts.tags <= {"p", "a", "br"}
    assert set(parts.attributes) <= {"href", "rel", "title"}
    assert parts.attributes.get("href", "https:").startswith("https:")


def test_a_link_says_that_it_is_no_word_of_ours() -> None:
    assert markdown("[the hall](https://hall.test)") == (
        '<p><a href="https://hall.test" rel="nofollow ugc noopener">the hall</a></p>\n'
    )


def test_a_search_engine_reads_words_without_marks() -> None:
    assert plain("Old, *rewired*.\nStays.\n\n- bring **shoes**") == "Old, rewired. Stays. bring shoes"
