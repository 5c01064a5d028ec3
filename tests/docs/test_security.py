"""docs/security.md has every point of ASVS 5.0 levels 1 and 2 once, and what it names exists."""

import re

from infra.services import ROOT

PAGE = (ROOT / "docs/security.md").read_text()

POINTS = {
    "1.1": 2,
    "1.2": 9,
    "1.3": 11,
    "1.4": 3,
    "1.5": 2,
    "2.1": 3,
    "2.2": 3,
    "2.3": 4,
    "2.4": 1,
    "3.2": 2,
    "3.3": 4,
    "3.4": 6,
    "3.5": 5,
    "3.7": 2,
    "4.1": 3,
    "4.2": 1,
    "4.3": 2,
    "4.4": 4,
    "5.1": 1,
    "5.2": 3,
    "5.3": 2,
    "5.4": 3,
    "6.1": 3,
    "6.2": 12,
    "6.3": 4,
    "6.4": 4,
    "6.5": 5,
    "6.6": 3,
    "6.8": 4,
    "7.1": 3,
    "7.2": 4,
    "7.3": 2,
    "7.4": 5,
    "7.5": 2,
    "7.6": 2,
    "8.1": 2,
    "8.2": 3,
    "8.3": 1,
    "8.4": 1,
    "9.1": 3,
    "9.2": 4,
    "11.1": 2,
    "11.2": 3,
    "11.3": 3,
    "11.4": 4,
    "11.5": 1,
    "11.6": 1,
    "12.1": 3,
    "12.2": 2,
    "12.3": 4,
    "13.1": 1,
    "13.2": 5,
    "13.3": 2,
    "13.4": 5,
    "14.1": 2,
    "14.2": 4,
    "14.3": 3,
    "15.1": 3,
    "15.2": 3,
    "15.3": 7,
    "16.1": 1,
    "16.2": 5,
    "16.3": 4,
    "16.4": 3,
    "16.5": 3,
}
"""How many points of these levels a section has. They are always its first ones. V10 and V17 do not apply."""

ROW = re.compile(r"^\| ([\d., ]+) \| [\d, ]+ \| [^|]+ \| ([^|]+) \| ([^|]*)\|$", re.MULTILINE)


def test_every_point_has_one_answer() -> None:
    answered = [point for row in ROW.finditer(PAGE) for point in row[1].split(", ")]
    assert sorted(answered) == sorted(f"{section}.{n + 1}" for section, count in POINTS.items() for n in range(count))


def test_an_answer_that_is_no_says_why() -> None:
    answers = {row[1]: (row[2].strip(), row[3].strip()) for row in ROW.finditer(PAGE)}
    assert {state for state, _ in answers.values()} == {"met", "partly", "no", "n/a"}
    assert [points for points, (state, remark) in answers.items() if state == "partly" and not remark] == []


def test_what_it_names_exists() -> None:
    named = {path for path in re.findall(r"`([\w./-]+)`", PAGE) if "/" in path and not path.startswith("/")}
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
