"""Descriptions are written in a safe part of CommonMark: no HTML, no pictures, no headings."""

import textwrap
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(
    ["html_block", "html_inline", "image", "heading", "lheading", "code"]
)
"""Links lead to http, https and mailto only: `markdown-it` leaves out the others. A line break stays one."""


def _link_open(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    tokens[index].attrSet("rel", "nofollow ugc noopener")
    return renderer.renderToken(tokens, index, options, env)


_MARKDOWN.add_render_rule("link_open", _link_open)


def markdown(text: str) -> Markup:
    """The HTML of a text, of paragraphs, lists, emphasis, quotes, code and links."""
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - the renderer escapes  # nosec B704


def plain(text: str) -> str:
    """The words of a text on one line, without marks."""
    blocks = (token for token in _MARKDOWN.parse(text) if token.content)
    words = (_words(token.children) if token.children else token.content for token in blocks)
    return " ".join(" ".join(words).split())


def shortened(words: str) -> str:
    """The first words, as many as search engines show."""
    return textwrap.shorten(words, 160, placeholder=" …") if len(words) > 160 else words


def _words(tokens: Sequence[Token]) -> str:
    return "".join(token.content or " " * token.type.endswith("break") for token in tokens)
