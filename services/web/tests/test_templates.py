"""Templates by themselves, without a server."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from web.clients.tickets import Door, Extra, Missing, Offer, Ticket
from web.pages.tickets import STATUS
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


@pytest.mark.parametrize("template", ["confirm.html", "undo_email.html", "reset_password.html", "accept_ticket.html"])
def test_the_token_of_a_link_is_what_the_form_sends(template: str) -> None:
    context: dict[str, object] = {
        **EVERY_PAGE,
        "link_token": "of-the.link",
        "action": "/",
        "errors": {},
        "error": "",
        "typed": {},
        "offer": Offer(giver="Bea", item_id="1", item_title="A concert"),
    }
    page = Templates(Assets()).render(i18n_for("en"), template, context)

    assert re.findall(r'name="token" value="([^"]*)"', page) == ["of-the.link"]


def test_who_has_an_account_already_gets_the_way_to_sign_in() -> None:
    context = {**EVERY_PAGE, "next": "/sell", "typed": {}, "errors": {"email": "Taken.", "taken": "Then sign in"}}
    page = Templates(Assets()).render(i18n_for("en"), "signup.html", context)

    assert '<a href="/signin?next=/sell">Then sign in</a>' in page


def test_the_door_says_why_somebody_should_not_have_been_let_in_and_what_has_not_arrived() -> None:
    at = datetime(2027, 5, 1, 18, tzinfo=UTC)
    south = {"second_gate": "South", "second_admitted_at": at}
    alone = {**south, "first_gate": "South", "first_admitted_at": at}
    both = {**south, "first_gate": "North", "first_admitted_at": at - timedelta(minutes=9)}
    extras = [
        Extra(number="A-1", reason="given_away", **alone, void_since=at, listed_at=at - timedelta(minutes=1)),
        Extra(number="B-1", reason="revoked", **both, void_since=at, listed_at=at + timedelta(minutes=1)),
        Extra(number="C-1", **both),
    ]
    missing = [Missing(device="0123456789", gate="South", count=count) for count in (1, 2)]
    door = Door(gates=[], admitted=1, tickets=3, extras=extras, missing=missing)
    item = {"id": "1", "title": "A concert"}
    context = {**EVERY_PAGE, "item": item, "door": door, "link": "", "errors": {}, "typed": {"name": ""}}

    page = Templates(Assets()).render(i18n_for("en"), "door.html", context)

    given, refunded, used, *phones = [
        " ".join(re.sub("<[^>]*>", "", li).split()) for li in re.findall(r"<li>(.*?)</li>", page, re.S)[-5:]
    ]
    assert given.count("South") == 1
    assert "given away" in given
    assert "could not know" in given
    assert "refunded" in refunded
    assert "could have known" in refunded
    assert re.match("C-1: North, .* and South", used)
    assert phones == [
        "Phone 01234567 at South: 1 scan has not arrived",
        "Phone 01234567 at South: 2 scans have not arrived",
    ]


@pytest.mark.parametrize(("status", "offered"), [("valid", True), ("used", True), ("revoked", False)])
def test_a_ticket_that_was_refunded_has_no_pdf(status: str, offered: bool) -> None:
    unknown = dict.fromkeys(
        ("starts_at", "ends_at", "doors_at", "venue", "city", "timezone", "holder_name", "offered_to")
    )
    known = {"id": "1-1", "number": "A-1", "order_id": "1", "item_id": "2", "item_title": "A concert", "holder": "3"}
    ticket = Ticket.model_validate({**unknown, **known, "code": "X", "status": status, "version": 1})
    context = {**EVERY_PAGE, "ticket": ticket, "ticket_status": STATUS, "errors": {}, "typed": {"email": ""}}

    page = Templates(Assets()).render(i18n_for("en"), "ticket.html", context)

    assert ("PDF to print" in page) is offered
