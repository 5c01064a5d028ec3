"""From an older revision to this one, under load and with kills on both: nobody notices, and nothing is lost.

BASE names the older revision.
"""

import os
from pathlib import Path

import pytest

from tests.chaos.plan import Fault
from tests.chaos.report import told
from tests.chaos.run import Run
from tests.chaos.upgraded_world import UpgradedWorld
from tests.support.revision import MissingRevision, checked_out

BASE = "1b4b0a2"
"""The last revision without mails and notifications."""

CUT_OFF = (None, 502, 504)
"""What the gateway makes of a request whose replica is killed."""

KILLED = 3.0
"""Seconds after a kill within which a request to the killed replica may be cut off."""


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.timeout(600)
async def test_an_upgrade_under_load_loses_nothing_and_no_request_fails(tmp_path: Path) -> None:
    older = checked_out(os.environ.get("BASE", BASE))
    run = Run(seed=11, seconds=30, buyers=6, hold_seconds=15, plan=[Fault(8, "upgrade")], least_orders=40)

    async with UpgradedWorld(tmp_path, older, hold_seconds=15) as souk:
        await run.execute(souk)

    [upgrade] = run.faults
    assert upgrade.happened, upgrade.note
    assert souk.lines == []
    assert not run.violations, told(run)
    assert run.end.dead_letters == []
    killed = [(kill, kill + KILLED) for kill in souk.kills]
    failed = [
        f"{o.kind} at {o.sent - upgrade.began:.1f} s: {o.outcome}"
        for o in run.history.operations
        if not (o.status is not None and o.status < 500)
        and not (o.status == 503 and o.retry_after)
        and not (o.status in CUT_OFF and any(o.answered > began and o.sent < ended for began, ended in killed))
    ]
    assert failed == []


def test_a_clone_without_the_older_revision_says_how_to_get_it() -> None:
    with pytest.raises(MissingRevision, match="git fetch --unshallow"):
        checked_out("0" * 40)
