"""The report of a run: figures, a chart, and every broken promise with its timeline; JSON, HTML and SVG."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from tests.chaos.chart import chart
from tests.chaos.faults import FaultResult
from tests.chaos.ledger import part_in_ledger
from tests.chaos.run import Run
from tests.chaos.stock_history import undecided
from tests.chaos.timeline import timeline_of

FOLDER = Path(__file__).parent

MOST_TIMELINES = 50
"""Violations that have a timeline in the report; the others are only listed."""


def figures(run: Run) -> dict[str, Any]:
    """Return the figures of a run, as in report.json."""
    operations: dict[str, Counter[str]] = {}
    for o in run.history.operations:
        operations.setdefault(o.kind, Counter())[o.outcome] += 1
    happened = Counter(result.fault.kind for result in run.faults if result.happened)
    statuses = Counter(str(order["status"]) for order in run.end.orders.values())
    return {
        "seed": run.seed,
        "seconds": run.seconds,
        "buyers": run.buyers,
        "hold_seconds": run.hold_seconds,
        "seconds_to_quiet": round(run.seconds_to_quiet, 1),
        "operations": {kind: dict(outcomes.most_common()) for kind, outcomes in sorted(operations.items())},
        "operations_in_all": len(run.history.operations),
        "orders": dict(statuses.most_common()),
        "orders_completed": sum(count for status, count in statuses.items() if status != "awaiting_payment"),
        "late_money": dict(Counter(str(o["late_payment"]) for o in run.end.orders.values() if o.get("late_payment"))),
        "charges": len([charge for charge in run.end.charges.values() if charge.get("captured_at")]),
        "charges_given_back": len([charge for charge in run.end.charges.values() if charge.get("refunded_at")]),
        "charges_given_back_in_part": len([charge for charge in run.end.charges.values() if part_in_ledger(charge)]),
        "events": len(run.end.events),
        "events_stored_twice": run.end.stored_twice,
        "items_undecided": undecided(run.history, run.end),
        "dead_letters": len(run.end.dead_letters),
        "faults": dict(sorted(happened.items())),
        "faults_in_all": happened.total(),
        "faults_left_out": dict(run.left_out),
        "faults_impossible": len(run.faults) - happened.total(),
        "notes": [_note(result) for result in run.faults if result.note],
        "violations": _violations(run),
    }


def _note(result: FaultResult) -> str:
    what = f"{result.fault.kind} {result.fault.target}".rstrip()
    return f"{what}: {result.note}" if result.happened else f"{what}: {result.note.rstrip(': ')}, so it was impossible"


def _violations(run: Run) -> list[dict[str, Any]]:
    violations = []
    for number, violation in enumerate(run.violations):
        lines = timeline_of(violation.subject, run.history, run.end, run.faults) if number < MOST_TIMELINES else []
        violations.append({**asdict(violation), "timeline": [asdict(line) for line in lines]})
    return violations


def told(run: Run) -> str:
    """The broken promises as text, each with what happened before, for a test that fails."""
    lines = []
    for violation in _violations(run):
        lines.append(f"{violation['rule']} {violation['subject']}: {violation['what']}")
        lines += [f"  {line['seconds']:8.2f} s {line['who']}: {line['what']}" for line in violation["timeline"]]
    return "\n".join(lines)


def write_report(run: Run, folder: Path) -> dict[str, Any]:
    """Write report.html, report.json, timeline.svg and history.jsonl into `folder`; return the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    report = figures(run)
    orders, operations = report["orders_completed"], report["operations_in_all"]
    title = f"{orders:,} orders, {operations:,} operations, {report['faults_in_all']} faults"
    picture = chart(run.history, run.faults, title)
    (folder / "timeline.svg").write_text(picture)
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    run.history.write(folder / "history.jsonl")
    pages = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    (folder / "report.html").write_text(pages.get_template("report.html.j2").render(run=report, picture=picture))
    return report
