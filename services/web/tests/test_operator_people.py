"""Operators make others operators and end that, without a browser."""

import asyncio

from common.ids import new_id
from infra.local.commands.running import run_as
from infra.local.stack.stack import Stack
from services.web.tests.conftest import Visitor, Visitors
from tests.support.waiting import eventually

PEOPLE = "/operator/people"


async def with_account(visitors: Visitors, name: str, language: str = "en-GB") -> tuple[Visitor, str, str]:
    """Somebody with an account, their id and their address."""
    visitor, email = await visitors.anybody(language), f"{name.lower()}-{new_id()}@souk.test"
    body = {"email": email, "password": "correct horse", "name": name}
    answer = await visitor.http.post("/api/users/signup", json=body)
    assert answer.status_code == 201, answer.text
    return visitor, answer.json()["id"], email


async def an_operator(visitors: Visitors, stack: Stack, language: str = "en-GB") -> tuple[Visitor, str]:
    """Somebody whom whoever runs Souk has made an operator, and their id."""
    visitor, user_id, email = await with_account(visitors, "Ola", language)
    assert await asyncio.to_thread(run_as, "auth", "auth.grant", email, stack=stack) == 0
    assert (await visitor.http.post("/api/users/refresh")).json()["roles"] == ["operator"]
    return visitor, user_id


async def test_an_operator_makes_another_one_and_takes_the_right_away(visitors: Visitors, stack: Stack) -> None:
    ola, _ = await an_operator(visitors, stack)
    bo, bo_id, email = await with_account(visitors, "Bo")
    page = await ola.get(PEOPLE)
    assert email not in page.text

    for typed, words in (("nobody", "not an e-mail address"), ("nobody@souk.test", "Nobody has signed up")):
        wrong = await ola.send(page, PEOPLE, email=typed)
        assert (wrong.status >= 400, words in wrong.errors["email"]) == (True, True)
        assert wrong.form(PEOPLE).fields["email"] == typed
    made = await ola.send(wrong, PEOPLE, email=email)
    again = await ola.send(made, PEOPLE, email=email)

    assert (made.path, "is told by mail" in made.text, email in made.text) == (PEOPLE, True, True)
    assert "is an operator already" in again.text
    assert await eventually(lambda: is_let_in(bo), 30)

    ended = await ola.send(again, f"{PEOPLE}/{bo_id}/end")
    late = await ola.send(again, f"{PEOPLE}/{bo_id}/end")

    assert ("The right is taken away" in ended.text, email in ended.text) == (True, False)
    assert (late.status, "The right is taken away" in late.text) == (200, False)

    await eventually(lambda: is_shut_out(bo), 30)

    async def told() -> bool:
        messages = (await bo.http.get("/dev/mail.json", params={"to": email})).json()["messages"]
        subjects = {message["subject"] for message in messages}
        return {"You are now an operator of Souk", "You are no longer an operator of Souk"} <= subjects

    await eventually(told, 90)  # A mail that cannot be sent waits for a minute.


async def is_let_in(visitor: Visitor) -> bool:
    """Whether the operators' pages open for somebody."""
    return (await visitor.get(PEOPLE)).status == 200


async def test_the_page_speaks_german_and_is_for_operators(visitors: Visitors, stack: Stack) -> None:
    ola, _ = await an_operator(visitors, stack, "de")
    assert "Wer ist Betreiber?" in (await ola.get(PEOPLE)).text

    page = await (await visitors.new("Bo")).get(PEOPLE)
    assert (page.status, "This page is for operators" in page.text) == (403, True)


async def test_the_last_operator_is_told_to_make_another_one_first(visitors: Visitors, stack: Stack) -> None:
    ola, ola_id = await an_operator(visitors, stack)
    _, _, email = await with_account(visitors, "Bo")
    own = f"{PEOPLE}/{ola_id}/end"
    page = await ola.get(PEOPLE)
    for other in [form.action for form in page.forms if form.action.endswith("/end") and form.action != own]:
        page = await ola.send(page, other)

    refused = await ola.send(page, own)
    assert (refused.status, "You are the last operator" in refused.errors["form"]) == (409, True)
    left = await ola.send(await ola.send(refused, PEOPLE, email=email), own)

    assert (left.status, left.path, "The right is taken away" in left.text) == (200, "/", True)
    await eventually(lambda: is_shut_out(ola), 30)


async def is_shut_out(visitor: Visitor) -> bool:
    """Whether the operators' pages are closed to somebody."""
    return (await visitor.get(PEOPLE)).status == 403
