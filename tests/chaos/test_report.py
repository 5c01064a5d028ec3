"""The report shows what happened, in one file that needs no other."""

import json
import re
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.chaos.end_state import EndState
from tests.chaos.faults import FaultResult
from tests.chaos.history import History
from tests.chaos.plan import Fault
from tests.chaos.report import write_report
from tests.chaos.run import Run
from tests.chaos.violation import Violation


def a_run() -> Run:
    """An order that was placed during a fault and is lost."""
    now = time.time()
    history = History(people={"bea": "bea@souk.test"}, began=now - 10)
    asked = {"item_id": "i1", "quantity": 1}
    history.add(who="bea", kind="place", about=asked, key="k", sent=now - 8, status=None, body="ReadTimeout()")
    history.add(who="bea", kind="place", about=asked, key="k", sent=now - 5, status=201, body={"id": "<o1>"})
    run = Run(seed=7, seconds=10, buyers=1, hold_seconds=5, history=history, end=EndState())
    run.faults = [
        FaultResult(Fault(2, "kill mongod", "mongod"), now - 8, now - 7.9, True, ""),
        FaultResult(Fault(3, "partition", "primary"), now - 7, now - 6.9, True, "mongod-1 was deposed by mongod-2"),
        FaultResult(Fault(9, "lag"), now - 1, now, False, "TimeoutError: "),
    ]
    run.violations = [Violation("lost", "<o1>", "an order that was placed is not there")]
    return run


def test_figures_and_timelines_are_in_the_json(tmp_path: Path) -> None:
    write_report(a_run(), tmp_path)

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["operations"] == {"place": {"no answer": 1, "201": 1}}
    assert report["faults"] == {"kill mongod": 1, "partition": 1}
    assert report["notes"] == [
        "partition primary: mongod-1 was deposed by mongod-2",
        "lag: TimeoutError, so it was impossible",
    ]
    [violation] = report["violations"]
    assert violation["rule"] == "lost"
    assert [line["who"] for line in violation["timeline"]] == ["fault", "fault", "bea"]


def test_the_page_needs_nothing_from_elsewhere_and_trusts_no_word_of_its_contents(tmp_path: Path) -> None:
    write_report(a_run(), tmp_path)

    page = (tmp_path / "report.html").read_text()
    assert "1 broken promise" in page
    assert "&lt;o1&gt;" in page
    assert "<o1>" not in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)


def test_the_picture_is_an_svg_with_each_fault_at_its_time(tmp_path: Path) -> None:
    write_report(a_run(), tmp_path)

    picture = ElementTree.parse(tmp_path / "timeline.svg")  # noqa: S314 - our own
    titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["kill mongod mongod, 0.1 s", "partition primary, 0.1 s"]


def test_the_history_has_a_line_for_each_operation(tmp_path: Path) -> None:
    write_report(a_run(), tmp_path)

    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [(line["number"], line["status"]) for line in lines] == [(1, None), (2, 201)]


def test_the_page_says_which_faults_were_not_possible_here_and_why(tmp_path: Path) -> None:
    run = a_run()
    run.left_out = {"full disk": "only root may mount a small disk"}

    write_report(run, tmp_path)

    assert "full disk: left out, only root may mount a small disk" in (tmp_path / "report.html").read_text()
