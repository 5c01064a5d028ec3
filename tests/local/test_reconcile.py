"""Reconciliation of a whole Souk in which people bought, paid late and got refunds; and of a damaged one."""

import asyncio
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.reconciliation import checker
from audit.reconciliation.findings import Rule
from audit.reconciliation.store import ReportStore
from common.clock import now
from common.http.sessions import OPERATOR
from common.mongo.client import database
from common.projections import Projection
from infra.local.commands import rebuild, reconcile
from infra.local.stack.program import passed_on
from infra.local.stack.stack import Stack
from infra.services import ROOT
from tests.support.late_money import bank_waiting
from tests.support.people import People
from tests.support.shopping import Json, becomes, money, ok, pay, place, sell
from tests.support.waiting import eventually


async def violations_of(stack: Stack, *ids: str, since_last: bool = False) -> set[Rule]:
    """The rules that these orders, items and payments break."""
    nats_url, mongo_url = stack.nats_url("audit"), stack.mongo_url("audit")
    report = await checker.reconcile(nats_url, mongo_url, grace=5, since_last=since_last)
    assert report.whole != since_last
    return {v.rule for v in report.violations if set(v.subject.values()) & set(ids)}


async def checked(stack: Stack) -> None:
    """Wait until audit has checked everything by itself: what has changed counts from there."""
    async with database(stack.mongo_url("audit")) as db:
        await eventually(ReportStore(db).checkpoint, 120, "audit has not checked anything")


async def run(module: str, *arguments: str, **variables: str) -> tuple[int | None, str]:
    """Run a program; return its exit code and what it printed."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        env=passed_on() | variables, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await program.communicate()
    return program.returncode, output.decode()


@pytest.mark.prove
async def test_records_stay_consistent_whatever_people_do_and_damage_is_found_and_repaired(
    hasty_stack: Stack, hasty_people: People
) -> None:
    await checked(hasty_stack)
    seller, slow, fast = [await hasty_people.new(name) for name in ("Sid", "Sue", "Flo")]
    item = await sell(seller, 2)
    late = await place(slow, item, 2)
    carded = await place(slow, other := await sell(seller, 1))
    async with (
        bank_waiting(hasty_stack, await pay(slow, late["id"], "pm_bank_late")),
        bank_waiting(hasty_stack, await pay(slow, carded["id"], "pm_card_late")),
    ):
        for order in (late, carded):
            await becomes(slow, order["id"], "expired")
        await pay(fast, (await place(fast, other))["id"])
        quick = await place(fast, item)
        await pay(fast, quick["id"])
    held = await place(fast, await sell(seller, 1))
    [rejected] = await money(slow, late["id"], "refunded")
    [released] = await money(slow, carded["id"], "released")
    paid = await becomes(fast, quick["id"], "paid")
    bought = (late["id"], carded["id"], quick["id"], held["id"])
    ids = (item, *bought, rejected["id"], released["id"], paid["payment_id"])
    assert await violations_of(hasty_stack, *ids) == set()

    code, printed = await run("audit.reconcile", "--grace", "5", **hasty_stack.env("audit"))
    assert code in {0, 1}, printed  # other people's orders may be on their way
    assert printed.startswith("looked at ")
    assert "this is what has changed" not in printed
    code, printed = await run("audit.reconcile", "--grace", "5", "--since", "last", **hasty_stack.env("audit"))
    assert code in {0, 1}, printed
    assert "this is what has changed; everything, and all money, was checked at" in printed

    async with database(hasty_stack.mongo_url("orders")) as orders:
        await orders.stock.update_one({"_id": item}, {"$inc": {"taken": -1}})
    async with database(hasty_stack.mongo_url("payments")) as payments:
        await payments.sandbox_charges.update_one({"_id": rejected["id"]}, {"$unset": {"refunded_at": ""}})
    broken = await violations_of(hasty_stack, *ids)
    assert broken == {
        Rule.UNITS_ADD_UP,  # taken is less than what the orders have
        Rule.BOOKS_AGREE,  # and less than was published
        Rule.COPIES_AGREE,  # and the item shows what was published
        Rule.CHARGES_END,  # the gateway has not sent the money back
        Rule.MONEY_BALANCES,
    }

    assert await violations_of(hasty_stack, *ids, since_last=True) == broken

    code, said = await run("orders.projections", "orders.stock", "--swap", **hasty_stack.env("orders"))
    assert (code, said.splitlines()[-1]) == (0, "nothing differs"), said
    async with database(hasty_stack.mongo_url("payments")) as payments:
        await payments.sandbox_charges.update_one({"_id": rejected["id"]}, {"$set": {"refunded_at": now()}})
    assert await violations_of(hasty_stack, *ids) == set()


@pytest.mark.prove
async def test_an_operator_refunds_the_rest_after_a_part_went_back_at_the_provider_and_the_books_balance(
    hasty_stack: Stack, hasty_people: People
) -> None:
    seller, buyer = [await hasty_people.new(name) for name in ("Sid", "Bea")]
    operator = await hasty_people.new("Ola", OPERATOR)
    order = await place(buyer, await sell(seller, 1))
    await pay(buyer, order["id"], "pm_card_partly_refunded")
    part = order["total"] // 3

    async def partly() -> Json | None:
        [payment] = await money(buyer, order["id"], "captured")
        return payment if payment.get("refunded_amount") == part else None

    payment = await eventually(partly)
    assert (await becomes(buyer, order["id"], "paid"))["payment_id"] == payment["id"]
    assert await violations_of(hasty_stack, order["id"], payment["id"]) == set()

    ok(await operator.http.post(f"/api/orders/{order['id']}/refund"), 202)

    await becomes(buyer, order["id"], "refunded")
    await money(buyer, order["id"], "refunded")
    async with database(hasty_stack.mongo_url("payments")) as payments:
        charge = await payments.sandbox_charges.find_one({"_id": payment["id"]})
    assert charge
    assert charge["part_refunded"] == part
    assert charge["refunded_at"]
    assert await violations_of(hasty_stack, order["id"], payment["id"]) == set()

    async def both_are_told() -> bool:
        story = ok(await operator.http.get(f"/api/audit/orders/{order['id']}"))["story"]
        told = [
            line["fields"] for line in story if line["subject"] in {"payments.partly_refunded", "payments.refunded"}
        ]
        assert [(said.get("refunded_amount"), said["refunded_before"]) for said in told] == [(part, 0), (None, part)]
        return True

    await eventually(both_are_told)


def test_every_projection_is_listed() -> None:
    for service in {name.partition(".")[0] for name in rebuild.PROJECTIONS}:
        importlib.import_module(f"{service}.projections")

    assert {projection.name for projection in Projection.__subclasses__()} == set(rebuild.PROJECTIONS)


@pytest.mark.parametrize("command", [reconcile.main, rebuild.main], ids=["reconcile", "rebuild"])
def test_where_nothing_runs_a_command_says_so(
    command: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PROJECTION", "orders.stock")

    assert command() == 2
    assert capsys.readouterr().err.startswith("no Souk runs on the data in ")
    assert not (tmp_path / "nowhere").exists()


def test_rebuild_alone_lists_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PROJECTION", raising=False)
    assert rebuild.main() == 0
    assert "  orders.stock " in capsys.readouterr().out

    monkeypatch.setenv("PROJECTION", "orders.stocks")
    assert rebuild.main() == 2
    assert capsys.readouterr().err == "there is no projection orders.stocks\n"
