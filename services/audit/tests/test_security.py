"""The security log as operators see it."""

from typing import TYPE_CHECKING, Any

from audit.security.domain import Noted
from audit.security.store import SecurityStore
from common.clock import now
from common.events import UserErased, UserVerified
from common.ids import new_id
from common.mongo.client import Database
from common.security_log import Kind, SecurityEntry
from tests.support.sessions import person
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.audit.tests.conftest import World


async def noted(audit: "World", service: str, kind: Kind, user_id: str | None = None, **more: Any) -> SecurityEntry:
    """A service notes something; returns it once audit has it."""
    entry = SecurityEntry(id=new_id(), kind=kind, at=now(), user_id=user_id, **more)
    await audit.events.js.publish(f"security.{service}.{kind}", entry.model_dump_json().encode())
    await audit.events.handled("SECURITY")
    return entry


async def test_operators_see_the_newest_first_by_kind_and_by_person(audit: "World") -> None:
    ada, bea = new_id(), new_id()
    first = await noted(audit, "auth", "signed_in", ada, network="192.0.2.0/24")
    second = await noted(audit, "auth", "sign_in_failed", bea, count=7)
    third = await noted(audit, "orders", "denied", ada, detail="POST /api/orders/{order_id}/refund: not_seller")

    async def ids(**query: Any) -> list[str]:
        return [entry["id"] for entry in (await audit.get("/security", **query))["items"]]

    assert await ids(user_id=ada) == [third.id, first.id]
    assert await ids(kind="sign_in_failed", user_id=bea) == [second.id]
    assert (await ids(kind="denied"))[0] == third.id
    page = await audit.get("/security", limit=2)
    assert [entry["id"] for entry in page["items"]] == [third.id, second.id]
    assert (page["items"][0]["service"], page["items"][1]["count"]) == ("orders", 7)
    assert (await audit.get("/security", limit=1, cursor=page["next"]))["items"][0]["id"] == first.id
    for path in ("?kind=everything", "?user_id=a%00b", "?cursor=zzz"):
        refused = await audit.http.get(f"/api/audit/security{path}", headers=audit.tokens.headers(audit.operator))
        assert refused.status_code == 422, path


async def test_of_an_erased_person_no_network_is_kept(audit: "World") -> None:
    ada, bea = new_id(), new_id()
    for user_id in (ada, bea):
        await noted(audit, "auth", "signed_in", user_id, network="192.0.2.0/24")

    await audit.events.deliver(UserErased(user_id=ada, account_version=2))
    late = await noted(audit, "auth", "session_ended", ada, network="192.0.2.0/24")

    # What this process has noted in earlier tests may come now, too.
    seen = [entry for entry in (await audit.get("/security"))["items"] if entry["user_id"] in (ada, bea)]
    networks = {(entry["user_id"], entry["id"] == late.id): entry["network"] for entry in seen}
    assert networks == {(ada, False): None, (ada, True): None, (bea, False): "192.0.2.0/24"}


async def test_an_entry_that_comes_twice_is_one(audit: "World") -> None:
    user_id = new_id()
    entry = await noted(audit, "auth", "signed_in", user_id)
    await audit.events.js.publish("security.auth.signed_in", entry.model_dump_json().encode())
    await audit.events.handled("SECURITY")

    assert len((await audit.get("/security", user_id=user_id))["items"]) == 1


async def test_what_is_no_entry_stops_none_that_come_after_it(audit: "World") -> None:
    await audit.events.js.publish("security.auth.signed_in", b'{"kind": "nonsense"}')
    entry = SecurityEntry(id=new_id(), kind="signed_in", at=now(), user_id=new_id())
    await audit.events.js.publish("security.auth.signed_in", entry.model_dump_json().encode())

    async def kept() -> bool:
        return bool((await audit.get("/security", user_id=entry.user_id))["items"])

    await eventually(kept)


async def test_a_flood_of_one_kind_pushes_no_other_out(db: Database) -> None:
    store = SecurityStore(db, kept=10, trim_every=5)
    await store.prepare()

    async def keep(kind: Kind) -> None:
        await store.keep(Noted(id=new_id(), kind=kind, at=now(), service="auth"))

    await keep("roles_changed")
    for _ in range(99):
        await keep("sign_in_failed")

    assert len(await store.page("sign_in_failed", None, 100, None)) == 10
    assert len(await store.page("roles_changed", None, 100, None)) == 1


async def test_somebody_sees_what_the_log_has_about_them_and_nothing_else(audit: "World") -> None:
    ada, bea = person("Ada"), person("Bea")
    first, second = [await noted(audit, "auth", "signed_in", ada.id, network="192.0.2.0/24") for _ in range(2)]
    await noted(audit, "auth", "signed_in", bea.id)

    async def mine(**query: Any) -> Any:
        headers = audit.tokens.headers(ada)
        return (await audit.http.get("/api/audit/mine/security", params=query, headers=headers)).json()

    page = await mine(limit=1)
    assert [entry["id"] for entry in page["items"]] == [second.id]
    assert [entry["id"] for entry in (await mine(cursor=page["next"]))["items"]] == [first.id]


async def test_the_events_before_the_last_one_that_was_seen_are_complete(audit: "World") -> None:
    ada = person("Ada")
    for version in range(5):
        await audit.events.deliver(UserVerified(user_id=ada.id, account_version=version + 1))

    async def versions(**query: Any) -> tuple[list[int], str]:
        headers = audit.tokens.headers(ada)
        found = (await audit.http.get("/api/audit/mine", params=query, headers=headers)).json()
        return [event["fields"]["account_version"] for event in found], found[1]["id"] if len(found) > 1 else ""

    newest, second = await versions()
    assert newest == [5, 4, 3, 2, 1]
    assert (await versions(before=second))[0] == [3, 2, 1]
    assert (await versions(before="none"))[0] == []
