"""What an operator does about an order from its history, without a browser."""

from common.ids import new_id
from services.web.tests.conftest import Page, Visitor, Visitors, listed, ordered, paid, shows
from tests.support.waiting import eventually


async def with_account(visitors: Visitors, name: str) -> tuple[Visitor, str]:
    """Somebody with an account, so that mails reach them, and their address."""
    visitor, email = await visitors.anybody(), f"{name.lower()}-{new_id()}@souk.test"
    body = {"email": email, "password": "correct horse", "name": name}
    assert (await visitor.http.post("/api/users/signup", json=body)).status_code == 201
    return visitor, email


async def mailed(visitor: Visitor, email: str) -> list[str]:
    """The texts of the messages of operators to an address."""
    messages = (await visitor.http.get("/dev/mail.json", params={"to": email})).json()["messages"]
    return [message["text"] for message in messages if message["subject"].startswith("A message about order")]


def actions(page: Page, story: str) -> list[str]:
    """What the page offers to do about its order."""
    return [form.action.removeprefix(f"{story}/") for form in page.forms if form.action.startswith(f"{story}/")]


async def test_an_operator_writes_to_a_buyer_once_and_cancels_their_order(visitors: Visitors) -> None:
    seller, operator = await visitors.new("Sella"), await visitors.new("Ola", "operator")
    buyer, email = await with_account(visitors, "Bo")
    order = await ordered(buyer, await listed(seller))
    story = f"/operator{order.path}"
    page = await shows(operator, story, "Awaiting payment")
    assert actions(page, story) == ["cancel", "message"]

    form = page.form(f"{story}/message").fields | {"to": "buyer"}
    words = "The doors open later.\n\n<b>Come at 8.</b>"
    for _ in range(2):  # Reloaded.
        sent = Page(await operator.http.post(f"{story}/message", data=form | {"text": words}))
        assert ("Your message is on its way." in sent.text, sent.path) == (True, story)
    other = Page(await operator.http.post(f"{story}/message", data=form | {"text": "Other words."}))
    assert (other.status, "has sent another message" in other.errors["text"]) == (422, True)
    empty = Page(await operator.http.post(f"{story}/message", data=form | {"key": new_id(), "text": " "}))
    assert (empty.status, list(empty.errors)) == (422, ["text"])

    async def arrived() -> list[str]:
        return await mailed(buyer, email)

    [text] = await eventually(arrived, 90, why="no mail came")  # A mail that cannot be sent waits for a minute.
    assert ("The doors open later." in text, "<b>Come at 8.</b>" in text) == (True, True)

    done = await operator.send(page, f"{story}/cancel")
    assert ("The order is cancelled." in done.text, done.path) == (True, story)
    assert "Souk has cancelled this order" in (await buyer.get(order.path)).text
    ended = await shows(operator, story, "Units back on sale")
    assert await eventually(lambda: offered(operator, story, ["message"]), 30), ended.text
    assert len(await mailed(buyer, email)) == 1


async def test_an_operator_refunds_a_paid_order_once(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    operator = await visitors.new("Ola", "operator")
    order = await ordered(buyer, await listed(seller))
    story = f"/operator{order.path}"
    await paid(buyer, order)
    assert await eventually(lambda: offered(operator, story, ["refund", "message"]), 30)
    page = await operator.get(story)

    for _ in range(2):  # Reloaded.
        done = await operator.send(page, f"{story}/refund")
        assert ("The refund is under way." in done.text, done.path) == (True, story)

    assert await eventually(lambda: offered(operator, story, ["message"]), 30)
    history = (await operator.http.get(f"/api/audit/orders/{order.path.rpartition('/')[2]}")).json()["story"]
    assert [entry["subject"] for entry in history].count("orders.refund_requested") == 1
    stranger = await visitors.new("Eve")
    refused = Page(await stranger.http.post(f"{story}/refund", data=stranger_form(await stranger.get("/sell"))))
    assert refused.status == 404


def stranger_form(page: Page) -> dict[str, str]:
    """The token of a form on a page of theirs."""
    return {"form_token": page.form("/sell").fields["form_token"]}


async def offered(operator: Visitor, story: str, what: list[str]) -> bool:
    """Whether just this is offered."""
    return actions(await operator.get(story), story) == what
