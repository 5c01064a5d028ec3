"""The static pages: good HTML, allowed to do nothing but be looked at."""

import base64
import hashlib
from html.parser import HTMLParser

import pytest

from common.testing import running
from web.main import app

API = {"/api/items", "/api/users/currentuser", "/api/orders", "/api/payments"}


class Page(HTMLParser):
    """What a page links to and contains."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            self.links.add(dict(attrs)["href"] or "")


@pytest.mark.parametrize(
    ("path", "status", "links"), [("/", 200, API), ("/nothing/here", 404, {"/"}), ("/api/x", 404, {"/"})]
)
async def test_a_page_links_on_and_its_policy_allows_its_own_style_only(
    path: str, status: int, links: set[str]
) -> None:
    async with running(app) as client:
        answer = await client.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    page = Page(answer.text)
    assert page.links == links
    assert "script" not in page.tags
    style = answer.text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
