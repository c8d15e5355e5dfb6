"""The outside world of the demo: a web server on loopback that gives pictures and takes thumbnails, and remembers each upload it saw."""

import threading
import time
from collections import Counter
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

UPLOAD_BYTES_MAX = 16 * 1024 * 1024


class PictureServer(ThreadingHTTPServer):
    """Serves ``folder``. ``pause_s``: between the effect of an upload and the reply, as a busy server would; a kill in between leaves
    an upload that has happened and that the engine cannot know of.

    ``uploads``: requests by idempotency key. ``conflicts``: keys that came again with other content.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, pause_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder.resolve()
        self.pause_s = pause_s
        self.uploads: Counter[str] = Counter()
        self.conflicts: set[str] = set()
        self._digests: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="picture-server")

    def url(self, *parts: str) -> str:
        """Give the address of a file."""
        return f"http://127.0.0.1:{self.server_address[1]}/" + "/".join(quote(part) for part in parts)

    def __enter__(self) -> "PictureServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of a request is what this server is there for: nothing to report."""

    def take(self, key: str, path: Path, content: bytes) -> int:
        """The file is there; gives the HTTP status: 201 at first, 200 for a repetition, 409 for the key of another upload."""
        digest = sha256(bytes(path) + content).digest()
        with self._lock:
            self.uploads[key] += 1
            known = self._digests.setdefault(key, digest)
            if known != digest:
                self.conflicts.add(key)
                return 409
            if self.uploads[key] > 1:
                return 200
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return 201


class Handler(BaseHTTPRequestHandler):
    """GET gives a file, PUT takes one."""

    @property
    def pictures(self) -> PictureServer:
        """The server whose request this is."""
        assert isinstance(self.server, PictureServer)
        return self.server

    def do_GET(self) -> None:
        """Give a file of the folder."""
        path = self._path()
        if path is None or not path.is_file():
            self._reply(404)
        else:
            self._reply(200, path.read_bytes())

    def do_PUT(self) -> None:
        """Take a file, once for each idempotency key."""
        path, key, size = self._path(), self.headers.get("Idempotency-Key"), int(self.headers.get("Content-Length") or 0)
        if path is None or not key or size > UPLOAD_BYTES_MAX:
            self.close_connection = True
            self._reply(400)
            return
        status = self.pictures.take(key, path, self.rfile.read(size))
        time.sleep(self.pictures.pause_s)
        self._reply(status)

    def _path(self) -> Path | None:
        path = (self.pictures.folder / unquote(self.path).lstrip("/")).resolve()
        return path if path.is_relative_to(self.pictures.folder) else None

    def _reply(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The screen belongs to the demo."""
