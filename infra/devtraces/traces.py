"""The traces that came last, in memory, and each as a tree of spans with their times."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from common.errors import Invalid

KEPT_TRACES = 500
"""How many traces are kept; the one that was silent longest goes first."""

KEPT_SPANS = 20_000
"""How many spans of all traces are kept, likewise."""

SPANS_OF_A_TRACE = 1_000
"""How many spans of one trace are kept: the first ones."""

ATTRIBUTES = 24
"""How many attributes of a span are kept."""

LONGEST = 200
"""Characters of a name or a value that are kept."""

ORDER = "souk.order_id"
"""The attribute of a span whose work is about an order."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work: of which service, below which other, from when to when in nanoseconds since 1970."""

    id: str
    parent: str
    service: str
    name: str
    kind: str
    began: int
    ended: int
    failed: bool
    attributes: Mapping[str, str]

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.ended - self.began) / 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """A span where it stands in the tree. `left` and `width` are percentages of the time of the whole trace."""

    span: Span
    depth: int
    left: float
    width: float


@dataclass(frozen=True)
class Trace:
    """Spans with one trace id, in the order in which they came."""

    id: str
    spans: list[Span] = field(default_factory=list)

    @property
    def began(self) -> int:
        """When its first span began."""
        return min(span.began for span in self.spans)

    @property
    def milliseconds(self) -> float:
        """From the begin of its first span to the end of its last."""
        return (max(span.ended for span in self.spans) - self.began) / 1e6

    @property
    def first(self) -> Span:
        """What it began with, as far as it has come here."""
        known = {span.id for span in self.spans}
        return min(self.spans, key=lambda span: (span.parent in known, span.began))

    @property
    def services(self) -> list[str]:
        """Who took part, in the order of their first spans."""
        return list(dict.fromkeys(span.service for span in sorted(self.spans, key=lambda span: span.began)))

    @property
    def failed(self) -> bool:
        """Whether something in it failed."""
        return any(span.failed for span in self.spans)

    @property
    def orders(self) -> list[str]:
        """The ids of the orders that it is about."""
        return sorted({span.attributes[ORDER] for span in self.spans if ORDER in span.attributes})

    def has(self, word: str) -> bool:
        """Return whether it has this id: its own, of a span, or any value in its spans, as of an order."""
        return word == self.id or any(word == span.id or word in span.attributes.values() for span in self.spans)

    def rows(self) -> list[Row]:
        """Return the tree from top to bottom; a span whose parent did not come here stands at the top."""
        known = {span.id for span in self.spans}
        below: dict[str, list[Span]] = {}
        for span in sorted(self.spans, key=lambda span: span.began):
            below.setdefault(span.parent if span.parent in known else "", []).append(span)
        waiting, tree = [(span, 0) for span in reversed(below.pop("", []))], []
        while waiting:
            span, depth = waiting.pop()
            tree.append((span, depth))
            waiting += [(child, depth + 1) for child in reversed(below.pop(span.id, []))]
        tree += [(span, 0) for circle in below.values() for span in circle]  # each is above the other
        began, whole = self.began, max(self.milliseconds, 0.001)
        return [_row(span, depth, began, whole) for span, depth in tree]


def _row(span: Span, depth: int, began: int, whole: float) -> Row:
    left = (span.began - began) / 1e6 / whole * 100
    return Row(span, depth, round(left, 2), round(span.milliseconds / whole * 100, 2))


class Traces:
    """Takes spans from every service."""

    def __init__(self) -> None:
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._spans = 0

    def take(self, body: bytes) -> None:
        """Keep the spans of a request of OTLP. Raises `Invalid` if it is none."""
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError:
            raise Invalid("the body is no protobuf message ExportTraceServiceRequest") from None
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes).get("service.name", "unknown")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._keep(span.trace_id.hex(), _span(service, span))

    def _keep(self, trace_id: str, span: Span) -> None:
        trace = self._traces.setdefault(trace_id, Trace(trace_id))
        self._traces.move_to_end(trace_id)
        if len(trace.spans) < SPANS_OF_A_TRACE:
            trace.spans.append(span)
            self._spans += 1
        while len(self._traces) > KEPT_TRACES or self._spans > KEPT_SPANS:
            _, oldest = self._traces.popitem(last=False)
            self._spans -= len(oldest.spans)

    def find(self, trace_id: str) -> Trace | None:
        """Return the trace of this id."""
        return self._traces.get(trace_id)

    def with_id(self, word: str) -> Iterator[Trace]:
        """Yield the traces that have this id somewhere, or all if it is empty; the newest first."""
        yield from (trace for trace in reversed(self._traces.values()) if not word or trace.has(word))


def _span(service: str, span: OtlpSpan) -> Span:
    return Span(
        span.span_id.hex(),
        span.parent_span_id.hex(),
        service,
        span.name[:LONGEST],
        OtlpSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.start_time_unix_nano,
        max(span.start_time_unix_nano, span.end_time_unix_nano),
        span.status.code == Status.STATUS_CODE_ERROR,
        _attributes(span.attributes),
    )


def _attributes(attributes: Iterable[KeyValue]) -> dict[str, str]:
    values = ((one.key, getattr(one.value, str(one.value.WhichOneof("value")), "")) for one in attributes)
    return {key[:LONGEST]: str(value)[:LONGEST] for key, value in islice(values, ATTRIBUTES)}
