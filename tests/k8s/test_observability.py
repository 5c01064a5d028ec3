"""What the component `observability` shows exists, each alert fires, and says what to do."""

import copy
import importlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from infra.services import NAMES, ROOT
from tests.k8s.objects import Object, Objects
from tests.support import promtool

VARIANT = "prod with observability"
COMPONENT = ROOT / "infra/k8s/components/observability"
RULES: Object = yaml.safe_load((COMPONENT / "rules.yaml").read_text())["spec"]
EVERY_RULE: list[Object] = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EVERY_RULE if "alert" in rule}
CASES: list[Object] = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
RUNBOOK = (ROOT / "docs/alerts.md").read_text()

OTHERS = {
    "up",
    "kube_cronjob_status_last_schedule_time",
    "kube_cronjob_status_last_successful_time",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    # nats-exporter 0.17 with -jsz=all
    "jetstream_server_jetstream_disabled",
    "jetstream_server_max_storage",
    "jetstream_server_total_message_bytes",
    "jetstream_server_total_streams",
    "jetstream_stream_limit_bytes",
    "jetstream_stream_total_bytes",
}
"""Metrics of Prometheus, of kube-state-metrics, of the operating system, and of the exporter of the bus."""

LATER = ("payments.gateways.stripe_ledger",)
"""What a service imports only with some settings."""

NAME = re.compile(r"\b(?:souk|jetstream|kube|process)_[a-z_]+|\bup\b|\bsouk:[a-z_:0-9]+[a-z0-9]")


def exposed() -> set[str]:
    """The name of every sample that a service may tell."""
    for module in (*(f"{name}.main" for name in NAMES), *LATER):
        importlib.import_module(module)
    found = set(OTHERS)
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        found |= {f"{family.name}{suffix}" for suffix in suffixes}
    return found | {rule["record"] for rule in EVERY_RULE if "record" in rule}


def queries() -> Iterator[tuple[str, str]]:
    """Where a query stands, and the query."""
    for rule in EVERY_RULE:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for file in (COMPONENT / "dashboards").glob("*.json"):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{file.name}: {panel['title']}", target["expr"]


def test_every_query_names_metrics_that_exist() -> None:
    there = exposed()
    asked = {(place, name) for place, query in queries() for name in NAME.findall(query)}
    assert {(place, name) for place, name in asked if name not in there} == set()
    assert {place for place, _ in queries()} == {place for place, _ in asked}, "each query names a metric"


def test_every_metric_of_souk_is_asked_for() -> None:
    asked = {name for _, query in queries() for name in NAME.findall(query)}
    own = {family.name for family in REGISTRY.collect() if family.name.startswith("souk_")}
    rest = {name for name in own if not any(one.startswith(name) for one in asked)}
    assert rest <= {"souk_dead_letters", "souk_payments", "souk_reconciliation_rows", "souk_reconciliation_seconds"}


@pytest.fixture(scope="session")
def tool() -> str:
    """promtool, which evaluates rules as Prometheus does."""
    if found := promtool.find() or promtool.fetch():
        return found
    pytest.skip(promtool.MISSING)


def run(tool: str, *arguments: str | Path) -> str:
    done = subprocess.run([tool, *arguments], capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid(tool: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(RULES))
    assert f"{len(EVERY_RULE)} rules found" in run(tool, "check", "rules", "--lint=all", "--lint-fatal", file)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["alert"])
def test_each_alert_fires_and_not_before(case: Object, tool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    rule = ALERTS[case["alert"]]
    fires = {"exp_labels": {**rule["labels"], **case.get("labels", {})}}
    fires["exp_annotations"] = {**rule["annotations"], "summary": case.get("summary", rule["annotations"]["summary"])}
    moments = [(case.get("quiet", "0m"), []), (case["at"], [fires])]
    test = {
        "interval": "1m",
        "input_series": case["series"],
        "alert_rule_test": [
            {"eval_time": moment, "alertname": case["alert"], "exp_alerts": expected} for moment, expected in moments
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    run(tool, "test", "rules", file)


def test_each_alert_has_a_case_and_a_runbook() -> None:
    assert {case["alert"] for case in CASES} == set(ALERTS)
    sections = dict(re.findall(r"^## (Souk\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"
        for part in ("**Look at**", "**Do**"):
            assert part in sections[name], f"{name} does not say: {part}"


def scraped(objects: Objects) -> Iterator[str]:
    """Every service, the exporter and every database is scraped, at a port that is open."""
    targets = set[str]()
    for monitor in objects.of("PodMonitor"):
        for pod in objects.pods:
            if not _selected(monitor["spec"]["selector"], pod.labels):
                continue
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                port = endpoint.get("port", endpoint.get("targetPort"))
                if port in {*pod.ports, *pod.ports.values()}:
                    targets.add(pod.name)
    wanted = {pod.name for pod in objects.pods if pod in objects.services or pod.kind == "MongoDBCommunity"}
    yield from (f"{name} is not scraped" for name in sorted((wanted | {"bus-exporter"}) - targets))


def _selected(selector: Object, labels: Any) -> bool:
    wanted: bool = selector["matchLabels"].items() <= labels.items()
    return wanted


def test_everything_is_scraped(rendered: dict[str, Objects]) -> None:
    assert list(scraped(rendered[VARIANT])) == []


@pytest.mark.parametrize(
    ("mutate", "reported"),
    [
        (lambda o: o.remove(o.one("PodMonitor", "services")), "web is not scraped"),
        (lambda o: _endpoint(o, "services").update(port="metrics"), "web is not scraped"),
        (lambda o: o.one("MongoDBCommunity", "auth-mongo")["spec"].pop("prometheus"), "auth-mongo is not scraped"),
        (lambda o: o.one("PodMonitor", "databases")["spec"]["selector"]["matchLabels"].update(part="x"), "auth-mongo"),
        (lambda o: o.one("Deployment", "bus-exporter")["spec"]["template"]["metadata"]["labels"].clear(), "bus-exp"),
    ],
)
def test_what_is_not_scraped_is_reported(
    mutate: Callable[[Objects], Any], reported: str, rendered: dict[str, Objects]
) -> None:
    objects = Objects(copy.deepcopy(rendered[VARIANT]))
    mutate(objects)
    assert reported in "\n".join(scraped(objects))


def _endpoint(objects: Objects, monitor: str) -> Object:
    endpoint: Object = objects.one("PodMonitor", monitor)["spec"]["podMetricsEndpoints"][0]
    return endpoint
