"""An application server behind HAProxy: answers every GET with its name.

``python -m haagent.lab.webserver NAME PORT`` listens on every address, IPv4 and IPv6.
"""

import argparse
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer(ThreadingHTTPServer):
    """See the module docstring."""

    address_family = socket.AF_INET6
    request_queue_size = 128

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        super().__init__(("::", port), Handler)  # An IPv6 socket takes IPv4 too, by default.


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: WebServer

    def do_GET(self) -> None:
        """Answer with the name."""
        body = self.server.name.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log errors only: the prober counts the requests."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    WebServer(arguments.name, arguments.port).serve_forever()
