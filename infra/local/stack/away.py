"""Serves on a laptop what the gateway answers in place of a service that it cannot reach."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from web.away.answers import answer


class Away:
    """Serves it on a free port of 127.0.0.1, in a thread: also while this process does something else."""

    def __init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> int:
        """Return the port, from which `/502/page` and `/502/api` are answered from now on."""
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
            Thread(target=self._server.serve_forever, name="away", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Serve it no longer."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer what the gateway asks for."""
        status, said, body = answer(self.path, {name.lower(): value for name, value in self.headers.items()})
        self.send_response(status)
        for name, value in said.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the standard library
        """Log nothing."""
