"""Passkeys over HTTP, with an authenticator in software: they sign in alone, and prove whose a session is."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from auth import reset_passkeys
from common.events import PasskeyChange, PasskeysChanged
from common.http.sessions import COOKIE
from tests.support.authenticator import PRESENT, Authenticator, decoded, encoded
from tests.support.bus import Events

ADA = {"email": "ada@souk.test", "password": "correct horse", "name": "Ada"}
Json = dict[str, Any]


async def signed_up(auth: httpx.AsyncClient, **different: str) -> Json:
    answer = await auth.post("/api/users/signup", json=ADA | different)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def post(auth: httpx.AsyncClient, path: str, **body: Any) -> Any:
    """The body of an answer that is no problem."""
    answer = await auth.post(f"/api/users/{path}", json=body or None)
    assert answer.is_success, answer.text
    return answer.json()


async def refused(auth: httpx.AsyncClient, path: str, **body: Any) -> tuple[int, str]:
    """The status and code of a problem."""
    answer = await auth.post(f"/api/users/{path}", json=body or None)
    return answer.status_code, answer.json()["code"]


async def add(auth: httpx.AsyncClient, device: Authenticator, name: str = "Phone") -> Json:
    """Add a passkey."""
    credential = device.create(await post(auth, "passkeys/options"))
    return dict(await post(auth, "passkeys", credential=credential, name=name))


async def signature(auth: httpx.AsyncClient, device: Authenticator, **bent: Any) -> Json:
    """Ask for a challenge to sign in, and sign it."""
    return device.get(await post(auth, "passkeys/signin/options"), **bent)


def claims(auth: httpx.AsyncClient) -> Json:
    """What the access token says."""
    return dict(jwt.decode(auth.cookies[COOKIE], options={"verify_signature": False}))


def forget(auth: httpx.AsyncClient) -> None:
    """Another browser: it has no cookies."""
    auth.cookies.clear()


async def test_a_passkey_is_added_signs_in_alone_and_is_removed(auth: httpx.AsyncClient, events: Events) -> None:
    user, device = await signed_up(auth), Authenticator()
    assert "has_passkey" not in claims(auth)

    added = await add(auth, device)

    assert claims(auth)["has_passkey"] is True
    [listed] = (await auth.get("/api/users/passkeys")).json()
    assert listed == added
    assert (listed["name"], listed["last_used_at"]) == ("Phone", None)

    await auth.post("/api/users/signout")
    forget(auth)
    assert await post(auth, "passkeys/signin", credential=await signature(auth, device)) == user
    assert time.time() - claims(auth)["proved_at"] < 60
    assert (await auth.get("/api/users/currentuser")).json()["current_user"] == user
    [used] = (await auth.get("/api/users/passkeys")).json()
    assert used["last_used_at"]

    renamed = await auth.patch(f"/api/users/passkeys/{added['id']}", json={"name": " Key ring "})
    assert renamed.json() == used | {"name": "Key ring"}
    assert (await auth.delete(f"/api/users/passkeys/{added['id']}")).status_code == 204
    assert (await auth.get("/api/users/passkeys")).json() == []
    assert "has_passkey" not in claims(auth)
    forget(auth)
    assert await refused(auth, "passkeys/signin", credential=await signature(auth, device)) == (401, "passkey_refused")
    told = await events.published(PasskeysChanged, 2)
    assert [(one.user_id, one.change) for one in told] == [
        (user["id"], PasskeyChange.ADDED),
        (user["id"], PasskeyChange.REMOVED),
    ]


async def test_a_signature_counts_once(auth: httpx.AsyncClient) -> None:
    await signed_up(auth)
    device = Authenticator()
    await add(auth, device)
    credential = await signature(auth, device)

    bodies = [auth.post("/api/users/passkeys/signin", json={"credential": credential}) for _ in range(5)]
    answers = await asyncio.gather(*bodies)

    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422, 422]
    assert await refused(auth, "passkeys/signin", credential=credential) == (422, "challenge_invalid")


async def test_a_challenge_is_for_one_browser_one_purpose_and_five_minutes(
    auth: httpx.AsyncClient, clock: Callable[..., None]
) -> None:
    await signed_up(auth)
    device = Authenticator()
    await add(auth, device)
    clock(seconds=-280)
    to_sign_in = await signature(auth, device)
    clock(seconds=0)
    to_prove = device.get(await post(auth, "passkeys/prove/options"))
    assert await refused(auth, "passkeys/prove", credential=to_sign_in) == (422, "challenge_invalid")
    assert await refused(auth, "passkeys/signin", credential=to_prove) == (422, "challenge_invalid")

    stolen = dict(auth.cookies)
    forget(auth)
    assert await refused(auth, "passkeys/signin", credential=to_sign_in) == (422, "challenge_invalid")
    await post(auth, "passkeys/signin/options")
    assert await refused(auth, "passkeys/signin", credential=to_sign_in) == (422, "challenge_invalid")
    await post(auth, "signin", email=ADA["email"], password=ADA["password"])  # Another session of the same person.
    assert await refused(auth, "passkeys/prove", credential=to_prove) == (422, "challenge_invalid")

    forget(auth)
    auth.cookies.update(stolen)
    await post(auth, "passkeys/signin", credential=to_sign_in)
    clock(seconds=-301)
    too_old = await signature(auth, device)
    clock(seconds=0)
    assert await refused(auth, "passkeys/signin", credential=too_old) == (422, "challenge_invalid")


@pytest.mark.parametrize(
    "what", ["another origin", "another site", "not verified", "another challenge", "signature", "another owner"]
)
async def test_no_other_signature_signs_in(auth: httpx.AsyncClient, what: str) -> None:
    await signed_up(auth)
    device = Authenticator()
    await add(auth, device)
    forget(auth)
    options, bent, code = await post(auth, "passkeys/signin/options"), {}, (401, "passkey_refused")
    match what:
        case "another origin":
            device.origin = "http://souk.evil.test"
        case "another site":
            options["rpId"] = "souk.evil.test"
        case "not verified":
            device.flags = PRESENT
        case "another challenge":
            options["challenge"], code = encoded(bytes(56)), (422, "challenge_invalid")
        case "signature":
            bent["signature"] = encoded(bytes(70))
        case "another owner":
            bent["userHandle"] = encoded(b"somebody else")

    assert await refused(auth, "passkeys/signin", credential=device.get(options, **bent)) == code
    assert COOKIE not in auth.cookies


@pytest.mark.parametrize("what", ["another origin", "another site", "not verified", "another session", "no key"])
async def test_no_other_answer_adds_a_passkey(auth: httpx.AsyncClient, what: str) -> None:
    await signed_up(auth)
    device, options, code = Authenticator(), await post(auth, "passkeys/options"), (422, "passkey_invalid")
    match what:
        case "another origin":
            device.origin = "http://souk.evil.test"
        case "another site":
            options["rp"]["id"] = "souk.evil.test"
        case "not verified":
            device.flags = PRESENT
        case "another session":
            await post(auth, "signin", email=ADA["email"], password=ADA["password"])
            code = (422, "challenge_invalid")
    credential = device.create(options)
    if what == "no key":
        credential["response"]["attestationObject"] = encoded(b"\xa1\x01")

    assert await refused(auth, "passkeys", credential=credential, name="Phone") == code
    assert (await auth.get("/api/users/passkeys")).json() == []


async def test_a_passkey_is_one_persons(auth: httpx.AsyncClient) -> None:
    await signed_up(auth)
    device = Authenticator()
    added = await add(auth, device)
    forget(auth)
    await signed_up(auth, email="eve@souk.test")
    options = await post(auth, "passkeys/options")
    twin = Authenticator()
    credential = twin.create(options)
    known = device.held[-1].id  # She gives her key the name of his.
    data = decoded(credential["response"]["attestationObject"]).replace(twin.held[-1].id, known)
    credential |= {"id": encoded(known), "rawId": encoded(known)}
    credential["response"]["attestationObject"] = encoded(data)
    assert await refused(auth, "passkeys", credential=credential, name="Phone") == (409, "passkey_known")

    own = Authenticator()
    await add(auth, own)
    own.held.append(device.held[-1])
    proof = own.get(await post(auth, "passkeys/prove/options"))
    assert await refused(auth, "passkeys/prove", credential=proof) == (401, "passkey_refused")
    assert (await auth.delete(f"/api/users/passkeys/{added['id']}")).json()["code"] == "passkey_not_found"
    renamed = await auth.patch(f"/api/users/passkeys/{added['id']}", json={"name": "Mine"})
    assert (renamed.status_code, renamed.json()["code"]) == (404, "passkey_not_found")


async def test_a_counter_that_does_not_grow_shows_a_copy(auth: httpx.AsyncClient, events: Events) -> None:
    await signed_up(auth)
    device = Authenticator(count=7)
    await add(auth, device)
    device.count = 8
    await post(auth, "passkeys/signin", credential=await signature(auth, device))

    for count in (8, 3, 0):
        device.count = count
        code = await refused(auth, "passkeys/signin", credential=await signature(auth, device))
        assert code == (401, "passkey_refused"), count

    told = await events.published(PasskeysChanged, 4)
    assert [one.change for one in told][1:] == [PasskeyChange.COPIED] * 3
    device.count = 9
    await post(auth, "passkeys/signin", credential=await signature(auth, device))


async def test_guesses_are_slowed_down(auth: httpx.AsyncClient) -> None:
    await signed_up(auth)
    device = Authenticator()
    await add(auth, device)
    answers = [
        await refused(auth, "passkeys/signin", credential=await signature(auth, device, signature=encoded(bytes(70))))
        for _ in range(6)
    ]
    assert answers == [*[(401, "passkey_refused")] * 5, (429, "too_many_requests")]


async def test_who_adds_or_removes_a_passkey_proves_to_be_more_than_the_holder_of_a_cookie(
    auth: httpx.AsyncClient, clock: Callable[..., None]
) -> None:
    clock(seconds=-550)
    await signed_up(auth)
    clock(seconds=-240)
    answer = await auth.post("/api/users/passkeys/options")
    assert (answer.status_code, answer.json()["code"]) == (403, "proof_needed")
    assert answer.json()["by"] == ["password", "recovery_code"]
    assert await refused(auth, "password/prove", password="wrong horse") == (401, "bad_credentials")
    await post(auth, "password/prove", password=ADA["password"])
    device = Authenticator()
    added = await add(auth, device)

    # From now on the password is not enough.
    clock(seconds=0)
    await post(auth, "password/prove", password=ADA["password"])
    for path in ("passkeys/options", "recovery-codes"):
        answer = await auth.post(f"/api/users/{path}")
        assert (answer.status_code, answer.json()["by"]) == (403, ["passkey", "recovery_code"])
    assert (await auth.delete(f"/api/users/passkeys/{added['id']}")).json()["code"] == "proof_needed"
    await post(auth, "passkeys/prove", credential=device.get(await post(auth, "passkeys/prove/options")))
    assert time.time() - claims(auth)["proved_at"] < 60
    assert (await auth.delete(f"/api/users/passkeys/{added['id']}")).status_code == 204


async def test_a_refresh_keeps_the_proof(auth: httpx.AsyncClient) -> None:
    await signed_up(auth)
    device = Authenticator()
    await add(auth, device)
    await post(auth, "passkeys/signin", credential=await signature(auth, device))
    proved_at = claims(auth)["proved_at"]

    await post(auth, "refresh")

    assert (claims(auth)["proved_at"], claims(auth)["has_passkey"]) == (proved_at, True)


async def test_recovery_codes_are_ten_shown_once_and_each_works_once(auth: httpx.AsyncClient, events: Events) -> None:
    user = await signed_up(auth)
    old = (await post(auth, "recovery-codes"))["codes"]
    codes = (await post(auth, "recovery-codes"))["codes"]
    assert len({*codes, *old}) == 20
    await add(auth, Authenticator())
    forget(auth)

    typed = codes[0].upper().replace("-", " ")
    assert await post(auth, "recovery-codes/signin", email=ADA["email"], code=typed) == user
    assert (await auth.get("/api/users/recovery-codes")).json() == {"left": 9}
    assert "proved_at" not in claims(auth)
    for code in (codes[0], old[0], "", "nonsense"):
        assert await refused(auth, "recovery-codes/signin", email=ADA["email"], code=code) == (401, "bad_credentials")
    assert await refused(auth, "recovery-codes/signin", email="nobody@souk.test", code=codes[1]) == (
        401,
        "bad_credentials",
    )
    await add(auth, Authenticator(), "The new phone")  # The other one is lost.
    told = await events.published(PasskeysChanged, 5)
    assert [(one.change, one.codes_left) for one in told if one.change is PasskeyChange.CODE_USED] == [
        (PasskeyChange.CODE_USED, 9)
    ]


async def test_whoever_lost_everything_gets_a_new_keyring_from_whoever_runs_souk(
    auth: httpx.AsyncClient, events: Events
) -> None:
    await signed_up(auth)
    codes = (await post(auth, "recovery-codes"))["codes"]
    lost = Authenticator()
    await add(auth, lost)
    assert await reset_passkeys.reset("nobody@souk.test") is None

    said = await reset_passkeys.reset(ADA["email"])

    assert said == "removed 1 passkeys and all recovery codes of ada@souk.test, who is told by mail"
    assert (await events.published(PasskeysChanged, 3))[-1].change is PasskeyChange.RESET
    found = await signature(auth, lost)
    assert await refused(auth, "passkeys/signin", credential=found) == (401, "passkey_refused")
    assert await refused(auth, "recovery-codes/signin", email=ADA["email"], code=codes[0]) == (401, "bad_credentials")
    await post(auth, "password/prove", password=ADA["password"])
    await add(auth, Authenticator(), "The new phone")


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"id": "", "rawId": "", "type": "public-key", "response": {}},
        {
            "id": "a",
            "rawId": "a",
            "type": "public-key",
            "response": {"clientDataJSON": "e30", "authenticatorData": "", "signature": ""},
        },
        {
            "id": "a" * 5000,
            "rawId": "a",
            "type": "public-key",
            "response": {"clientDataJSON": "e30", "authenticatorData": "", "signature": ""},
        },
        {
            "id": {"$ne": ""},
            "rawId": "a",
            "type": "public-key",
            "response": {"clientDataJSON": "e30", "authenticatorData": "", "signature": ""},
        },
    ],
)
async def test_nonsense_is_a_problem_and_never_ours(auth: httpx.AsyncClient, credential: Json) -> None:
    await signed_up(auth)
    await add(auth, Authenticator())
    await post(auth, "passkeys/signin/options")
    for path in ("passkeys/signin", "passkeys/prove", "passkeys"):
        answer = await auth.post(f"/api/users/{path}", json={"credential": credential, "name": "x"})
        assert answer.status_code in {401, 422}, answer.text
