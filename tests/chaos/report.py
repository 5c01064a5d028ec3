"""The report of a run: figures, a picture, and every broken promise with its story; JSON, HTML and SVG."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from tests.chaos.run import Run
from tests.chaos.story import story_of
from tests.chaos.timeline import timeline

FOLDER = Path(__file__).parent

MOST_STORIES = 50
"""Violations that are told with a story; the rest are counted."""


def figures(run: Run) -> dict[str, Any]:
    """Return what there is to say of a run, as JSON has it."""
    operations: dict[str, Counter[str]] = {}
    for o in run.history.operations:
        operations.setdefault(o.kind, Counter())[o.outcome] += 1
    happened = Counter(done.fault.kind for done in run.done if done.happened)
    statuses = Counter(str(order["status"]) for order in run.final.orders.values())
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
        "late_money": dict(Counter(str(o["late_payment"]) for o in run.final.orders.values() if o.get("late_payment"))),
        "charges": len([charge for charge in run.final.charges.values() if charge.get("captured_at")]),
        "charges_given_back": len([charge for charge in run.final.charges.values() if charge.get("refunded_at")]),
        "events": len(run.final.told),
        "dead_letters": len(run.final.letters),
        "faults": dict(sorted(happened.items())),
        "faults_in_all": happened.total(),
        "faults_impossible": len(run.done) - happened.total(),
        "violations": _violations(run),
    }


def _violations(run: Run) -> list[dict[str, Any]]:
    told = []
    for number, violation in enumerate(run.violations):
        story = story_of(violation.subject, run.history, run.final, run.done) if number < MOST_STORIES else []
        told.append({**asdict(violation), "story": [asdict(entry) for entry in story]})
    return told


def write_report(run: Run, folder: Path) -> dict[str, Any]:
    """Write report.html, report.json, timeline.svg and history.jsonl into `folder`; return the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    said = figures(run)
    title = (
        f"{said['orders_completed']:,} orders, {said['operations_in_all']:,} operations, {said['faults_in_all']} faults"
    )
    picture = timeline(run.history, run.done, title)
    (folder / "timeline.svg").write_text(picture)
    (folder / "report.json").write_text(json.dumps(said, indent=2))
    run.history.write(folder / "history.jsonl")
    pages = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    (folder / "report.html").write_text(pages.get_template("report.html.j2").render(run=said, picture=picture))
    return said
