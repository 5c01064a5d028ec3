"""The command that checks all records: what it prints, and its exit codes."""

from datetime import UTC, datetime

import pytest

from audit import reconcile
from audit.reconciliation import checker
from audit.reconciliation.findings import Lag, Money, Report, Rule, Violation
from common.clock import now
from infra.servers.process import free_port


def report_of(*violations: Violation) -> Report:
    """A report with these violations."""
    totals = {rule: sum(violation.rule is rule for violation in violations) for rule in Rule}
    return Report(
        checked_at=now(), seconds=1, grace=2, counts={"orders": 1_200}, totals=totals, violations=list(violations),
        balances={"EUR": Money(charged=1_500, sellers=1_500)}, lag=Lag(),
    )  # fmt: skip


def test_a_report_says_what_is_wrong() -> None:
    wrong = Violation(rule=Rule.SOLD_ONCE, subject={"item": "lamp"}, expected="5 at most", found="6", since=now())

    lines = reconcile.lines_of(report_of(wrong))

    assert lines[0] == "looked at 1,200 orders in 1.0 s"
    assert "sold_once                 1" in lines
    assert "EUR         1,500         0    1,500           0         0           0" in lines
    assert lines[-2:] == ["sold_once: item lamp: 5 at most expected, 6 found", "the books do not balance"]


def test_a_report_without_violations_says_so() -> None:
    assert reconcile.lines_of(report_of())[-1] == "the books balance"


def test_a_report_of_changes_says_since_when() -> None:
    whole = datetime(2026, 11, 30, 8, 15, 7, tzinfo=UTC)

    lines = reconcile.lines_of(report_of().model_copy(update={"whole_at": whole}))

    assert lines[1] == "this is what has changed; everything, and all money, was checked at 2026-11-30 08:15:07 UTC"


def test_rules_that_are_not_judged_do_not_count(
    environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        Violation(rule=rule, subject={"payment": "p1"}, expected="a charge", found="none", since=now())
        for rule in (Rule.CHARGES_END, Rule.MONEY_BALANCES)
    ]

    async def check(_: int, *, since_last: bool) -> Report:
        assert not since_last
        return report_of(*found)

    monkeypatch.setattr(reconcile, "check", check)
    for without, code in (("charges_end, money_balances", 0), ("charges_end", 1), ("", 1)):
        monkeypatch.setenv("WITHOUT", without)
        assert reconcile.main([]) == code
        assert ("not judged: charges_end" in capsys.readouterr().out) == bool(without)
    monkeypatch.setenv("WITHOUT", "charges")
    assert reconcile.main([]) == 2
    assert capsys.readouterr().err.startswith("WITHOUT is 'charges', but ")


def test_where_a_service_does_not_answer_the_command_says_so(
    environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reconcile.main(["--grace", "1"]) == 2
    assert "cannot check: Unavailable: nobody answers on books.items.items" in capsys.readouterr().err


def test_where_the_bus_is_away_the_command_says_so(
    environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{free_port()}")
    monkeypatch.setattr(checker, "COMMAND_PATIENCE", 0.5)

    assert reconcile.main(["--grace", "1"]) == 2
    assert "cannot check: Error: the bus, or one of its streams, was not there within" in capsys.readouterr().err


@pytest.mark.parametrize("grace", ["0", "long", "3601"])
def test_a_grace_that_makes_no_sense_is_refused(
    grace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRACE", grace)

    assert reconcile.main([]) == 2
    assert capsys.readouterr().err.startswith(f"GRACE is '{grace}', but ")


@pytest.mark.parametrize("since", ["last", ""])
def test_what_has_changed_is_checked_only_if_that_is_asked_for(
    environment: None, since: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    async def check(_: int, *, since_last: bool) -> Report:
        asked.append(since_last)
        return report_of()

    monkeypatch.setattr(reconcile, "check", check)
    monkeypatch.setenv("SINCE", since)

    assert reconcile.main([]) == 0
    assert asked == [bool(since)]
