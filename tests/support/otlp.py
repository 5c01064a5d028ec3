"""A receiver of OpenTelemetry spans, as a collector is one: OTLP over HTTP, on a port of this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Received:
    """A span, with the service that made it."""

    service: str
    span: Span

    @property
    def name(self) -> str:
        """What was done, and by whom."""
        return f"{self.service}: {self.span.name}"

    @property
    def kind(self) -> str:
        """SERVER, CONSUMER or CLIENT."""
        return str(Span.SpanKind.Name(self.span.kind)).removeprefix("SPAN_KIND_")

    @property
    def attributes(self) -> dict[str, Any]:
        """What is noted about it."""
        return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in self.span.attributes}


class Receiver:
    """What was received so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Received] = []

    def trace(self, trace_id: str) -> list[Received]:
        """The spans of one trace."""
        return [one for one in list(self.spans) if one.span.trace_id.hex() == trace_id]

    def take(self, body: bytes) -> None:
        """Keep what one request brings."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            [service] = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            self.spans += [Received(service, span) for scope in resource.scope_spans for span in scope.spans]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
