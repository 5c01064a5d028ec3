"""What pages have at their top, and what others read about them: colours, languages, canonical links, linked data."""

import json
import re

import pytest

from services.web.tests.conftest import Visitors, listed

EVENT = {"kind": "event", "starts_at": "2030-06-07T20:00", "doors_at": "2030-06-07T19:00", "timezone": "Europe/Berlin"}


async def test_the_colours_are_chosen_at_the_top_and_kept(visitors: Visitors) -> None:
    somebody = await visitors.anybody()
    page = await somebody.get("/signin")
    assert 'content="light dark"' in page.answer.text

    page = await somebody.send(page, "/theme", theme="dark")
    assert page.path == "/signin"
    assert '<html lang="en-GB" data-theme="dark">' in page.answer.text
    assert '<meta name="color-scheme" content="dark">' in page.answer.text

    page = await somebody.send(page, "/theme", theme="purple")
    assert 'data-theme="dark"' in page.answer.text
    page = await somebody.send(page, "/theme", theme="auto")
    assert "data-theme" not in page.answer.text


async def test_the_language_is_chosen_above_the_content(visitors: Visitors) -> None:
    html = (await (await visitors.anybody()).http.get("/signin")).text
    assert html.index('action="/language"') < html.index('<main id="main"')
    assert html.count('action="/language"') == 1


@pytest.mark.parametrize("path", ["/signin?next=%2Fsell", "/signup?next=%2Fsell", "/forgot-password?x=1"])
async def test_a_page_says_its_canonical_address(visitors: Visitors, path: str) -> None:
    somebody = await visitors.anybody()
    site = str(somebody.http.base_url).rstrip("/")
    html = (await somebody.http.get(path)).text
    assert re.findall('rel="canonical" href="([^"]*)"', html) == [site + path.partition("?")[0]]


async def test_a_page_that_is_not_there_has_no_canonical_address(visitors: Visitors) -> None:
    assert "canonical" not in (await (await visitors.anybody()).http.get("/nowhere")).text


async def test_search_engines_read_when_and_where_an_event_is(visitors: Visitors) -> None:
    seller, anybody = await visitors.new("Sella"), await visitors.anybody()
    item = await listed(seller, **EVENT, title="A night", venue="The Lighthouse", city="Kiel")
    [data] = re.findall(r'<script type="application/ld\+json">(.*?)</script>', (await anybody.http.get(item)).text)
    found = json.loads(data)
    assert (found["@type"], found["name"]) == ("Event", "A night")
    assert (found["startDate"], found["doorTime"]) == ("2030-06-07T20:00:00+02:00", "2030-06-07T19:00:00+02:00")
    assert found["location"] == {
        "@type": "Place",
        "name": "The Lighthouse",
        "address": {"@type": "PostalAddress", "addressLocality": "Kiel"},
    }
    assert found["offers"]["price"] == "12.50"
    assert not {"endDate", "organizer"} & set(found)  # nothing is made up
