"""`make dev TRACES=1` shows what a request led to, in every service; without it there is no such page."""

from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.devtraces.__main__ import app
from infra.devtraces.traces import ATTRIBUTES, KEPT_SPANS, KEPT_TRACES, LONGEST, SPANS_OF_A_TRACE, Traces
from infra.local.stack.stack import Stack
from infra.services import NAMES
from tests.support.serving import running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MILLISECOND = 1_000_000


def exported(service: str, *spans: Span) -> bytes:
    """A request of an exporter."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    resource.scope_spans.add().spans.extend(spans)
    return bytes(request.SerializeToString())


def span(number: int, parent: int, name: str, times: tuple[int, int], trace: str = TRACE) -> Span:
    """A span from one millisecond to another; parent 0 is none."""
    made = Span(trace_id=bytes.fromhex(trace), span_id=number.to_bytes(8), name=name)
    made.parent_span_id = parent.to_bytes(8) if parent else b""
    made.start_time_unix_nano, made.end_time_unix_nano = (moment * MILLISECOND for moment in times)
    made.attributes.add(key="souk.request_id").value.string_value = "request-1"
    return made


PAID = [
    ("orders", [span(2, 1, "process payments.authorized", (20, 40)), span(9, 8, "process orders.placed", (5, 6))]),
    ("payments", [span(1, 0, "POST /api/payments", (0, 100)), span(3, 2, "process orders.<b>", (50, 150))]),
]


async def sent(page: httpx.AsyncClient) -> None:
    for service, spans in PAID:
        answer = await page.post("/v1/traces", content=exported(service, *spans))
        assert answer.status_code == 200


async def test_a_trace_is_a_tree_with_times_found_by_any_of_its_ids() -> None:
    async with running(app) as page:
        await sent(page)
        listed = (await page.get("/dev/traces", params={"q": "request-1"})).text
        assert f'href="/dev/traces/{TRACE}?q=request-1"' in listed
        assert "150.0 ms · 4 spans" in listed
        assert 'title="payments, orders"' in listed
        assert TRACE not in (await page.get("/dev/traces", params={"q": "request-2"})).text
        opened = (await page.get(f"/dev/traces/{TRACE}")).text
        rows = opened[opened.index('<ol class="rows">') :]
        places = [rows.index(name) for name in ("POST /api/payments", "payments.authorized", "orders.&lt;b&gt;")]
        assert places == sorted(places)
        assert "margin-left: min(13.33%, 100% - 3px); width: 13.33%" in rows
        assert (await page.get("/dev/traces/another")).status_code == 404
        assert (await page.post("/v1/traces", content=b"not protobuf")).status_code == 422


async def test_nothing_in_a_span_becomes_part_of_the_page() -> None:
    attack = """"><script>alert(1)</script><i style='"""
    made = span(1, 0, attack, (0, 1), trace="f" * 32)
    made.attributes.add(key=attack).value.string_value = attack
    made.attributes.add(key="souk.order_id").value.string_value = "../../my/data?" + attack
    async with running(app) as page:
        await page.post("/v1/traces", content=exported(attack, made))
        answer = await page.get(f"/dev/traces/{'f' * 32}")
    assert "<script" not in answer.text
    assert "<i style='" not in answer.text
    assert "/operator/orders/..%2F..%2Fmy%2Fdata%3F%22" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_the_tree_has_children_below_their_parents_and_strangers_at_the_top() -> None:
    traces = Traces()
    for service, spans in PAID:
        traces.take(exported(service, *spans))
    traces.take(exported("loop", span(21, 22, "one", (0, 1)), span(22, 21, "other", (0, 1))))
    trace = traces.find(TRACE)
    assert trace
    tree = [(row.depth, row.span.service, int(row.span.id, 16)) for row in trace.rows()]
    assert tree[:4] == [(0, "payments", 1), (1, "orders", 2), (2, "payments", 3), (0, "orders", 9)]
    assert sorted(tree[4:]) == [(0, "loop", 21), (0, "loop", 22)], "a circle is shown, once"


def test_memory_is_bounded() -> None:
    traces = Traces()
    many = [span(number, 0, "x" * 10_000, (0, 1)) for number in range(1, SPANS_OF_A_TRACE + 50)]
    for number in range(100):
        many[0].attributes.add(key=f"key-{number}").value.string_value = "x" * 10_000
    traces.take(exported("orders", *many))
    [trace] = traces.with_id("")
    assert len(trace.spans) == SPANS_OF_A_TRACE
    assert max(len(one.name) for one in trace.spans) == LONGEST
    assert len(trace.spans[0].attributes) == ATTRIBUTES
    for number in range(KEPT_TRACES):
        traces.take(exported("orders", span(1, 0, "new", (0, 1), trace=f"{number:032x}")))
    assert traces.find(TRACE) is None
    assert len(list(traces.with_id(""))) == KEPT_TRACES
    full = [span(number, 0, "full", (0, 1)) for number in range(1, SPANS_OF_A_TRACE + 1)]
    for number in range(KEPT_SPANS // SPANS_OF_A_TRACE + 5):
        for one in full:
            one.trace_id = (number + 10**9).to_bytes(16)
        traces.take(exported("orders", *full))
    assert sum(len(one.spans) for one in traces.with_id("")) == KEPT_SPANS


def test_only_a_stack_with_traces_has_the_page(tmp_path: Path) -> None:
    without, traced = Stack(tmp_path / "without"), Stack(tmp_path / "with", traces=True)
    assert not any("traces" in route.path for route in without.gateway.routes)
    assert not any("OTEL" in name for service in NAMES for name in without.env(service))
    [viewer] = [viewer for viewer in traced.viewers if viewer.name == "traces"]
    endpoints = {traced.env(service)["OTEL_EXPORTER_OTLP_ENDPOINT"] for service in NAMES}
    assert endpoints == {f"http://127.0.0.1:{viewer.port}"}
    assert "/dev/traces" in {route.path for route in traced.gateway.routes}
