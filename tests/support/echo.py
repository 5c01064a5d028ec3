"""A stand-in for a service: `python -m tests.support.echo NAME` reports its name, its requests and its environment.

With TLS_CERT_FILE and TLS_KEY_FILE it listens with TLS, as a service does.
"""

import json
import os
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """Answers every GET, with the status that it asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with what this process knows of the request."""
        received = {
            "service": sys.argv[1],
            "process": os.getpid(),
            "path": self.path.partition("?")[0],
            "forwarded_for": self.headers["X-Forwarded-For"],
            "variables": sorted(os.environ),
        }
        body = json.dumps(received).encode()
        self.send_response(int(self.headers.get("Echo-Status", 200)))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Request-ID", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the standard library
        """Log nothing."""


def main() -> None:
    """Serve until the process ends."""
    server = ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Echo)
    if certificate := os.environ.get("TLS_CERT_FILE"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, os.environ["TLS_KEY_FILE"])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
