"""Traces by OpenTelemetry: what a cause leads to, as spans, from the first request through events to every consumer.

Off unless the variable `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` says where spans go: then
nothing is imported, and nothing measured. All other standard variables of OpenTelemetry hold, too.

The trace travels in `Cause.traceparent`. A span takes it for its parent, and inside it is the span's own; so it goes on
in the headers of events and of calls, as W3C Trace Context, and is kept with events that wait in an outbox.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from common.telemetry import Cause, caused_by

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

TRACEPARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

Kind = Literal["SERVER", "CONSUMER", "CLIENT"]

_tracers: dict[str, "Tracer"] = {}
"""By service: a process has one, and tests have several."""

_span: ContextVar["Span | None"] = ContextVar("span", default=None)


def configured() -> bool:
    """Whether the environment says where spans go."""
    return any(map(os.environ.get, ENDPOINTS)) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


@contextmanager
def tracing(service: str) -> Iterator[None]:
    """Inside, the spans of this service are sent, if the environment says where to; at the end, what is left."""
    if not configured():
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.namespace": "souk", "service.name": service})
    provider = TracerProvider(resource=resource)  # The sampler is that of OTEL_TRACES_SAMPLER.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracers[service] = provider.get_tracer("souk")
    try:
        yield
    finally:
        del _tracers[service]
        provider.shutdown()


@contextmanager
def span(
    service: str, name: str, traceparent: str, kind: Kind, attributes: Mapping[str, str]
) -> Iterator["Span | None"]:
    """A span below the one that `traceparent` names; None where traces are off. An exception that leaves marks it."""
    if (tracer := _tracers.get(service)) is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    measured = tracer.start_span(name, _context_of(traceparent), SpanKind[kind], attributes)
    token = _span.set(measured)
    try:
        yield measured
    except Exception as error:
        failed(error)
        raise
    finally:
        _span.reset(token)
        measured.end()


def _context_of(traceparent: str) -> "Context":
    """What the SDK takes for the parent: none, if this is no valid header."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if not (found := TRACEPARENT.fullmatch(traceparent)):
        return Context()
    trace, parent, flags = found.groups()
    there = SpanContext(int(trace, 16), int(parent, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(there), Context())


def working(
    service: str, name: str, cause: Cause, kind: Kind, attributes: Mapping[str, str]
) -> AbstractContextManager[None]:
    """`caused_by(cause)`; where traces are on, as a span of the service."""
    return _working(service, name, cause, kind, attributes) if service in _tracers else caused_by(cause)


@contextmanager
def _working(service: str, name: str, cause: Cause, kind: Kind, attributes: Mapping[str, str]) -> Iterator[None]:
    with span(service, name, cause.traceparent, kind, {**attributes, "souk.request_id": cause.request_id}) as measured:
        own = cause if measured is None else replace(cause, traceparent=traceparent_of(measured))
        with caused_by(own):
            yield


def failed(error: Exception) -> None:
    """Mark the span that is measured now, if any: its work failed, although the exception does not leave it."""
    if measured := _span.get():
        from opentelemetry.trace import StatusCode

        measured.record_exception(error)
        measured.set_status(StatusCode.ERROR, type(error).__name__)


def traceparent_of(measured: "Span") -> str:
    """The W3C header that makes another span a child of this one."""
    context = measured.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
