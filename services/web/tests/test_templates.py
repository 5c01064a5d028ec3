"""Templates by themselves, without a server."""

import re

import pytest

from web.rendering.assets import Assets
from web.rendering.i18n import i18n_for
from web.rendering.templates import Templates

EVERY_PAGE: dict[str, object] = {
    "user": None,
    "path": "/",
    "here": "/",
    "origin": "https://souk.test",
    "form_token": lambda: "of the form",
    "new_key": lambda: "key",
    "note": "",
    "stripe_key": "",
    "theme": "auto",
    "themes": {},
}


@pytest.mark.parametrize("template", ["confirm.html", "reset_password.html", "accept_ticket.html"])
def test_the_token_of_a_link_is_what_the_form_sends(template: str) -> None:
    context: dict[str, object] = {
        **EVERY_PAGE,
        "link_token": "of-the.link",
        "action": "/",
        "errors": {},
        "error": "",
        "typed": {},
    }
    page = Templates(Assets()).render(i18n_for("en"), template, context)

    assert re.findall(r'name="token" value="([^"]*)"', page) == ["of-the.link"]


def test_who_has_an_account_already_gets_the_way_to_sign_in() -> None:
    context = {**EVERY_PAGE, "next": "/sell", "typed": {}, "errors": {"email": "Taken.", "taken": "Then sign in"}}
    page = Templates(Assets()).render(i18n_for("en"), "signup.html", context)

    assert '<a href="/signin?next=/sell">Then sign in</a>' in page
