"""`python -m infra.local.commands.reconcile`: check the books of the running Souk, and say whether they balance."""

import asyncio
import sys
from collections.abc import Sequence

from nats.errors import Error as NatsError

from audit.reconciliation.checker import reconcile
from audit.reconciliation.findings import Report
from common.errors import SoukError
from common.mongo.client import AWAY
from infra.local.commands.running import NothingRuns, running_stack
from infra.local.env import Unusable, number

SHOWN = 50
"""Violations that are printed."""


def table(rows: Sequence[Sequence[str | int]]) -> list[str]:
    """Return lines in which the columns stand under each other, all but the first to the right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in texts) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in texts
    ]


def told(report: Report) -> list[str]:
    """Return what a report says, line by line."""
    looked = ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items())
    lines = [f"looked at {looked} in {report.seconds:.1f} s", ""]
    lines += table([("rule", "violations"), *((rule.value, count) for rule, count in report.totals.items())])
    if report.balances:
        names = ("charged", "refunded", "sellers", "in_transit", "difference")
        money = [(currency, *(getattr(m, name) for name in names)) for currency, m in sorted(report.balances.items())]
        lines += ["", *table([("currency", *names), *money])]
    lines.append("")
    for violation in report.violations[:SHOWN]:
        subject = ", ".join(f"{kind} {key}" for kind, key in violation.subject.items())
        lines.append(f"{violation.rule}: {subject}: {violation.expected} expected, {violation.found} found")
    if (more := sum(report.totals.values()) - SHOWN) > 0:
        lines.append(f"and {more:,} more")
    lines.append("the books balance" if report.ok else "the books do not balance")
    return lines


def show_progress(name: str, rows: int) -> None:
    """Say how far it is, where a person looks at it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{rows:,} {name}", end="", file=sys.stderr, flush=True)


async def check() -> Report:
    """Check the stack that runs."""
    grace = number("GRACE", 30, least=1, most=3600)
    stack = running_stack()
    report = await reconcile(stack.nats_url("audit"), stack.mongo_url("audit"), grace=grace, progress=show_progress)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return report


def main() -> int:
    """Return the exit code: 0 if the books balance, 1 if not, 2 with a sentence where they cannot be read."""
    try:
        report = asyncio.run(check())
    except (*AWAY, NatsError, NothingRuns, OSError, SoukError, Unusable) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(told(report)))
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
