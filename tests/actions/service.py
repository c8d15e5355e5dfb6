"""A real service over HTTP, on this host, that says what a test tells it to say."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Got(NamedTuple):
    """A request that came. ``headers`` in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


class Said(NamedTuple):
    """An answer."""

    status: int = 200
    body: bytes | str = b""
    headers: dict[str, str] = {}


class Service:
    """``routes``: path -> what answers; other paths are not found. ``got``: what came, in order."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.routes: dict[str, Callable[[Got], Said]] = {}
        self.url = ""

    def route(self, path: str, *answers: Said | Callable[[Got], Said]) -> None:
        """The path is answered with these in turn, the last one again and again."""
        left = list(answers)

        def answer(got: Got) -> Said:
            found = left.pop(0) if len(left) > 1 else left[0]
            return found if isinstance(found, Said) else found(got)

        self.routes[path] = answer

    def paths(self) -> list[str]:
        """Give the paths that were asked for."""
        return [got.path for got in self.got]


@contextmanager
def serving() -> Iterator[Service]:
    """The service answers inside."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            got = Got(self.command, parts.path, parse_qs(parts.query), {k.lower(): v for k, v in self.headers.items()}, body)
            service.got.append(got)
            said = service.routes.get(parts.path, lambda got: Said(404, "not here"))(got)
            data = said.body.encode() if isinstance(said.body, str) else said.body
            self.send_response(said.status)
            for name, value in {"Content-Type": "text/html; charset=utf-8", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
