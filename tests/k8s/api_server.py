"""Reads of the Kubernetes API, of objects that do not change: enough for an ingress controller to read its routes."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.k8s.objects import Object, Objects

PLURALS = {
    "Ingress": "ingresses",
    "IngressClass": "ingressclasses",
    "GatewayClass": "gatewayclasses",
    "BackendTLSPolicy": "backendtlspolicies",
}
"""Those that are not the kind and an s."""


class ApiServer:
    """Serves objects to who lists them, and never a change."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._closing = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    def __enter__(self) -> str:
        Thread(target=self._server.serve_forever, name="api-server", daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _listed(self, path: str) -> list[Object]:
        plural = path.rpartition("/")[2]
        group = "/".join(path.split("/")[2:4]) if path.startswith("/apis/") else "v1"
        namespace = path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in path else None
        return [
            one
            for one in self._objects
            if PLURALS.get(one["kind"], f"{one['kind'].lower()}s") == plural
            and one["apiVersion"] == group
            and namespace in {None, one["metadata"].get("namespace")}
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """List, or say that nothing changes."""
                address = urlsplit(self.path)
                asked = parse_qs(address.query)
                if "sendInitialEvents" in asked:
                    self._say({"kind": "Status", "apiVersion": "v1", "reason": "Invalid", "code": 422}, 422)
                elif "watch" in asked:
                    self._watch()
                else:
                    self._say({"metadata": {"resourceVersion": "1"}, "items": api._listed(address.path)})

            def do_PUT(self) -> None:
                """What a controller thinks of an object: that is not kept."""
                self._say(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _watch(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                api._closing.wait()
                self.close_connection = True

            def _say(self, content: Any, status: int = 200) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by its base
                """Log nothing."""

        return Handler
