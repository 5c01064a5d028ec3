"""The reconciliation of the audit service, which knows nothing of the answers that people got."""

from collections.abc import Iterable

from audit.reconciliation.checker import reconcile
from audit.reconciliation.findings import Report, Rule
from tests.chaos.violation import Violation
from tests.chaos.world import World

GRACES = (1.0, 30.0)
"""Seconds that a difference may last, in a first and a second look: audit may still have events to read.

What waits for an operator is a difference, too, so a look takes that long in nearly every run.
"""


async def audit_violations(world: World) -> list[Violation]:
    """Return the violations that audit finds, except for what waits for an operator: that was made on purpose."""
    replicas = int(world.env("audit").get("NATS_REPLICAS", "1"))
    broken: list[Violation] = []
    for grace in GRACES:
        report = await reconcile(world.nats_url("audit"), world.mongo_url("audit"), grace=grace, replicas=replicas)
        if not (broken := list(_broken(report))):
            break
    return broken


def _broken(report: Report) -> Iterable[Violation]:
    for violation in report.violations:
        for_operators = violation.rule is Rule.CHARGES_END and violation.expected.startswith("an operator ")
        if violation.rule is not Rule.LETTERS_SETTLED and not for_operators:
            subject = next(iter(violation.subject.values()), "")
            what = f"audit expected {violation.expected} and found {violation.found}"
            yield Violation(f"audit: {violation.rule}", str(subject), what)
