"""`python -m audit.reconcile [--grace SECONDS] [--without RULES] [--since last]`: check all records of a running Souk.

With `--since last` only what has changed since the newest check that audit itself made. It prints what is wrong. It
runs in audit's environment, with audit's own credentials.
"""

import asyncio
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, CliApp, NoDecode, SettingsConfigDict

from audit.reconciliation.checker import reconcile
from audit.reconciliation.findings import Money, Report, Rule
from audit.settings import AuditSettings
from common.bus.connection import BusError
from common.errors import SoukError
from common.mongo.client import AWAY
from common.settings import load

MAX_SHOWN = 50
"""Violations that are printed; all are counted."""

UNAVAILABLE: tuple[type[Exception], ...] = (*AWAY, BusError, OSError, SoukError)


class Arguments(BaseSettings):
    """Check all records of the running Souk."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, cli_prog_name="python -m audit.reconcile", cli_avoid_json=True
    )

    grace: Annotated[int, Field(ge=1, le=3600, description="seconds that a difference may last (GRACE)")] = 30
    without: Annotated[tuple[Rule, ...], NoDecode, Field(description="rules that are not judged (WITHOUT)")] = ()
    since: Annotated[Literal["last"] | None, Field(description="only what has changed since then (SINCE)")] = None

    @field_validator("without", mode="before")
    @classmethod
    def _separated(cls, names: object) -> object:
        """The variable separates them by commas."""
        return [name.strip() for name in names.split(",")] if isinstance(names, str) else names


def judged(report: Report, without: Collection[Rule]) -> Report:
    """The report as if these rules were none."""
    totals = {rule: count for rule, count in report.totals.items() if rule not in without}
    violations = [violation for violation in report.violations if violation.rule not in without]
    return report.model_copy(update={"totals": totals, "violations": violations})


def table(rows: Sequence[Sequence[str | int]]) -> list[str]:
    """One line for each row. The first column is aligned left, the others right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    first, *others = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in texts
    ]


def lines_of(report: Report) -> list[str]:
    """A report as text, line by line."""
    checked = ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items())
    lines = [f"looked at {checked} in {report.seconds:.1f} s"]
    if report.whole_at and not report.whole:
        lines.append(f"this is what has changed; everything, and all money, was checked at {report.whole_at:%F %T} UTC")
    lines.append("")
    lines += table([("rule", "violations"), *((rule.value, count) for rule, count in report.totals.items())])
    if report.balances:
        lines += ["", *_balances(report.balances.items())]
    lines.append("")
    for violation in report.violations[:MAX_SHOWN]:
        subject = ", ".join(f"{kind} {key}" for kind, key in violation.subject.items())
        lines.append(f"{violation.rule}: {subject}: {violation.expected} expected, {violation.found} found")
    if (more := sum(report.totals.values()) - MAX_SHOWN) > 0:
        lines.append(f"and {more:,} more")
    lines.append("the books balance" if report.ok else "the books do not balance")
    return lines


def _balances(balances: Iterable[tuple[str, Money]]) -> list[str]:
    names = ("charged", "refunded", "sellers", "in_transit", "disputed", "difference")
    rows = [(currency, *(getattr(money, name) for name in names)) for currency, money in sorted(balances)]
    return table([("currency", *names), *rows])


def show_progress(section: str, checked: int) -> None:
    """Overwrite the terminal's line with the progress; print nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{checked:,} {section}", end="", file=sys.stderr, flush=True)  # noqa: T201


async def check(grace: int, *, since_last: bool = False) -> Report:
    """Check with the settings of audit. Raises one of `UNAVAILABLE` if something cannot be read."""
    settings = load(AuditSettings)
    report = await reconcile(
        settings.nats_url.get_secret_value(),
        settings.mongo_url.get_secret_value(),
        grace=grace,
        replicas=settings.nats_replicas,
        progress=show_progress,
        since_last=since_last,
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 without violations, 1 with some, 2 with a sentence if something cannot be read."""
    try:
        asked = CliApp.run(Arguments, cli_args=None if arguments is None else list(arguments))
        report = judged(asyncio.run(check(asked.grace, since_last=asked.since is not None)), asked.without)
    except ValidationError as error:
        [problem, *_] = error.errors()
        name, reason = str(problem["loc"][0]).upper(), problem["msg"].removeprefix("Input ")
        print(f"{name} is {problem['input']!r}, but {reason}", file=sys.stderr)  # noqa: T201
        return 2
    except UNAVAILABLE as error:
        print(f"cannot check: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    if asked.without:
        print(f"not judged: {', '.join(asked.without)}")  # noqa: T201
    print("\n".join(lines_of(report)))  # noqa: T201
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
