"""The dashboards of Grafana, as `make manifests` writes them beside the component `observability`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from infra.services import NAMES

Panel = tuple[str, str, Mapping[str, str]]
"""Title, unit as Grafana names it, and queries by the legend of each."""


def _quantile(metric: str, quantile: float, by: str = "", where: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


PROMISES: Sequence[Panel] = (
    ("Failed requests (objective: 0.1 %)", "percentunit", {"of all": "souk:requests_failed:ratio_rate5m"}),
    ("Requests over a second (objective: 1 %)", "percentunit", {"of all": "souk:requests_slow:ratio_rate5m"}),
    ("Violations in the books", "short", {"{{rule}}": "max by (rule) (souk_reconciliation_violations)"}),
    ("Books checked before", "s", {"age": "min(souk_reconciliation_age_seconds)"}),
    ("Open dead letters", "short", {"open": "max(souk_dead_letters_open)"}),
    (
        "Oldest unhandled event",
        "s",
        {"{{consumer}}": "topk(10, max by (consumer) (souk_consumer_oldest_age_seconds))"},
    ),
    ("Oldest event that is not on the bus", "s", {"{{app}}": "max by (app) (souk_outbox_oldest_age_seconds)"}),
    (
        "Lateness of deadlines",
        "s",
        {f"p{round(q * 100)}": _quantile("souk_deadline_lateness_seconds", q) for q in (0.5, 0.99)},
    ),
    (
        "Bus: part of the disk that is full",
        "percentunit",
        {"{{server_name}}": "jetstream_server_total_message_bytes / jetstream_server_max_storage"},
    ),
    (
        "Bus: part of its budget that a stream has used",
        "percentunit",
        {"{{stream_name}}": "max by (stream_name) (jetstream_stream_total_bytes / (jetstream_stream_limit_bytes > 0))"},
    ),
)

SALE_DAY: Sequence[Panel] = (
    ("Orders", "ops", {"{{subject}}": _rate("souk_events_relayed_total", "subject", '{subject=~"orders[.].*"}')}),
    ("Units held, orders unpaid", "short", {"units": "max(souk_held_units)", "orders": "max(souk_holds)"}),
    (
        "Money by state, minor units a second",
        "short",
        {"{{status}} {{currency}}": _rate("souk_payments_minor_units_total", "status, currency")},
    ),
    (
        "Commands that the desk commits together",
        "short",
        {f"p{round(q * 100)}": _quantile("souk_desk_group_commands", q) for q in (0.5, 0.99)},
    ),
    (
        "Payment provider: duration of calls",
        "s",
        {"{{operation}} p99": _quantile("souk_gateway_call_seconds", 0.99, "operation")},
    ),
    (
        "Payment provider: calls without an answer",
        "ops",
        {"{{operation}} {{error}}": _rate("souk_gateway_failures_total", "operation, error")},
    ),
    ("Requests by status", "reqps", {"{{status}}": _rate("souk_http_request_seconds_count", "status")}),
    ("Mails", "ops", {"{{kind}} {{outcome}}": _rate("souk_mails_total", "kind, outcome")}),
    (
        "Items and pages by where from",
        "ops",
        {"{{kind}} {{source}}": _rate("souk_items_answered_total", "kind, source")},
    ),
    ("Since no change of an item was missed", "s", {"age": "max(souk_items_news_age_seconds)"}),
)

SERVICES: Sequence[Panel] = (
    ("Requests", "reqps", {"{{route}}": _rate("souk_http_request_seconds_count", "route", '{app="$app"}')}),
    (
        "Failed requests",
        "reqps",
        {
            "{{route}} {{status}}": _rate(
                "souk_http_request_seconds_count", "route, status", '{app="$app",status=~"5.."}'
            )
        },
    ),
    (
        "Duration of requests",
        "s",
        {f"p{round(q * 100)}": _quantile("souk_http_request_seconds", q, where='{app="$app"}') for q in (0.5, 0.99)},
    ),
    ("Events handled", "ops", {"{{consumer}}": _rate("souk_events_handled_total", "consumer", '{app="$app"}')}),
    ("Deliveries that failed", "ops", {"{{consumer}}": _rate("souk_events_retried_total", "consumer", '{app="$app"}')}),
    (
        "Messages that wait",
        "short",
        {"{{consumer}}": 'max by (consumer) (souk_consumer_pending_messages{consumer=~"$app-.*"})'},
    ),
    ("Events that wait for the bus", "short", {"events": 'sum(souk_outbox_behind{app="$app"})'}),
    ("Lag of the event loop", "s", {"p99": _quantile("souk_event_loop_lag_seconds", 0.99, where='{app="$app"}')}),
    ("Processor", "short", {"{{pod}}": _rate("process_cpu_seconds_total", "pod", '{app="$app"}')}),
    ("Memory", "bytes", {"{{pod}}": 'max by (pod) (process_resident_memory_bytes{app="$app"})'}),
)


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    title, unit, queries = panel
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(queries.items())
        ],
    }


def _dashboard(name: str, title: str, panels: Sequence[Panel], *variables: dict[str, Any]) -> str:
    datasource = {"name": "datasource", "type": "datasource", "query": "prometheus"}
    whole = {
        "uid": f"souk-{name}",
        "title": title,
        "tags": ["souk"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [datasource, *variables]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(whole, indent=1) + "\n"


def dashboards() -> dict[str, str]:
    """The text of each dashboard, by the name of its file."""
    one_of = {"name": "app", "label": "service", "type": "custom", "query": ",".join(NAMES)}
    return {
        "promises.json": _dashboard("promises", "Souk: the promises", PROMISES),
        "sale-day.json": _dashboard("sale-day", "Souk: the sale day", SALE_DAY),
        "services.json": _dashboard("services", "Souk: a service", SERVICES, one_of),
    }
