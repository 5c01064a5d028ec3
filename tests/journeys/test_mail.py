"""Mails that really arrive: sign up, prove the address, lose the password, change it and the address."""

import re
from typing import Any

import httpx

from tests.support.people import People
from tests.support.shopping import becomes, ok, pay, place, sell
from tests.support.waiting import eventually

Mail = dict[str, Any]


async def mail(http: httpx.AsyncClient, to: str, subject: str) -> Mail:
    """Wait for the newest mail to an address whose subject begins so."""

    async def arrived() -> Mail | None:
        messages = ok(await http.get("/dev/mail.json", params={"to": to}))["messages"]
        return next((message for message in messages if message["subject"].startswith(subject)), None)

    return await eventually(arrived, why=f"a mail to {to}: {subject}")


def token_in(message: Mail) -> str:
    """The token in the link of a mail, the same in the text and in the HTML."""
    [token] = set(re.findall(r"\?token=([\w.-]+)", message["text"] + message["html"]))
    return str(token)


async def test_an_address_is_proved_and_a_lost_password_replaced_by_mail(people: People) -> None:
    ada = await people.signed_up("Ada")
    email = ada.user.email

    verification = token_in(await mail(ada.http, email, "Welcome to Souk"))
    assert ok(await ada.http.get("/api/users/currentuser"))["current_user"]["verified"] is False
    assert (await ada.http.post("/api/users/verify-email", json={"token": verification})).status_code == 204
    again = await ada.http.post("/api/users/verify-email", json={"token": verification})
    assert (again.status_code, again.json()["code"]) == (422, "token_invalid")
    assert ok(await ada.http.post("/api/users/refresh"))["verified"] is True

    stranger = await people.anybody()
    for address in (email, "nobody-at-all@souk.test"):
        asked = await stranger.post("/api/users/password-reset", json={"email": address})
        assert (asked.status_code, asked.content) == (202, b"null")
    reset = {"token": token_in(await mail(stranger, email, "Choose a new password")), "new_password": "another horse"}
    assert (await stranger.post("/api/users/password-reset/confirm", json=reset)).status_code == 204
    assert (await stranger.post("/api/users/password-reset/confirm", json=reset)).json()["code"] == "token_invalid"
    await mail(stranger, email, "Your password was changed")

    ended = await ada.http.post("/api/users/refresh")
    assert (ended.status_code, ended.json()["code"]) == (401, "session_ended")
    old = {"email": email, "password": "correct horse"}
    assert (await stranger.post("/api/users/signin", json=old)).status_code == 401
    ok(await stranger.post("/api/users/signin", json=old | {"password": "another horse"}))
    assert ok(await stranger.get("/dev/mail.json", params={"to": "nobody-at-all@souk.test"}))["messages"] == []


async def test_password_and_address_are_changed_by_who_knows_the_password(people: People) -> None:
    ada = await people.signed_up("Ada")
    email, new_email = ada.user.email, f"new-{ada.user.email}"
    password = {"current_password": "wrong horse", "new_password": "a much better one"}
    assert (await ada.http.post("/api/users/password", json=password)).json()["code"] == "bad_credentials"
    password["current_password"] = "correct horse"
    assert (await ada.http.post("/api/users/password", json=password)).status_code == 204
    ok(await ada.http.post("/api/users/refresh"))  # This session goes on.

    asked = await ada.http.post("/api/users/email", json={"password": "a much better one", "new_email": new_email})
    assert asked.status_code == 202
    token = token_in(await mail(ada.http, new_email, "Confirm your new address"))
    assert (await ada.http.post("/api/users/email/confirm", json={"token": token})).status_code == 204
    told = await mail(ada.http, email, "Your address was changed")
    assert new_email in told["text"]
    assert "/account/email/undo?token=" in told["text"]
    assert ok(await ada.http.post("/api/users/refresh"))["email"] == new_email

    undone = await ada.http.post("/api/users/email/undo", json={"token": token_in(told)})
    assert undone.status_code == 204
    assert token_in(await mail(ada.http, email, "Choose a new password"))
    assert (await ada.http.post("/api/users/refresh")).status_code == 401


async def test_a_sale_is_told_to_the_buyer_in_their_language(people: People) -> None:
    seller, buyer = await people.signed_up("Sid"), await people.signed_up("Bea", {"Accept-Language": "de-AT, en;q=0.5"})
    placed = await place(buyer, await sell(seller, 5, title="Vivaldi by candlelight"), 2)
    await pay(buyer, placed["id"])
    await becomes(buyer, placed["id"], "paid")

    receipt = await mail(buyer.http, buyer.user.email, "Quittung: Vivaldi by candlelight")
    assert "90,00" in receipt["text"]
    assert f"/orders/{placed['id']}" in receipt["html"]
    ok(await seller.http.post(f"/api/orders/{placed['id']}/refund"), 202)
    await mail(buyer.http, buyer.user.email, "Erstattung")
