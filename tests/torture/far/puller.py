"""A worker over HTTP that asks for calls with the standard library alone: ``python puller.py API_URL``, effects in ``FAR_EFFECTS``."""

import http.client
import json
import os
import sys
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

from tests.torture.far.errands import QUEUE, note

SLOTS = 4
BEAT_S = 0.3
WORKER = f"puller-{os.getpid()}-{time.time_ns()}"
ACTIONS = ("far_mark", "far_stumble", "far_carry")


class Refused(Exception):
    """The server says no, and will again."""


def ask(api: str, method: str, path: str, body: Any = None) -> Any:
    parts = urlsplit(api)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=6)
    try:
        connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if 400 <= answer.status < 500:
        raise Refused(f"{method} {path}: {answer.status} {text!r}")
    if answer.status >= 500:
        raise OSError(f"{method} {path}: {answer.status} {text!r}")
    return json.loads(text) if text else None


def insist(api: str, method: str, path: str, body: Any = None) -> Any:
    """Ask until the server has said something."""
    while True:
        try:
            return ask(api, method, path, body)
        except (OSError, http.client.HTTPException) as error:
            print(f"asking again: {error}", flush=True)
            time.sleep(0.2)


def announce(api: str) -> None:
    actions = [{"name": name, "queue": QUEUE} for name in ACTIONS]
    message = {"type": "announce", "v": 1, "worker": WORKER, "started_ms": int(time.time() * 1e3), "interval_ms": 300, "slots": SLOTS}
    insist(api, "POST", "workers", {**message, "actions": actions})


def perform(call: dict[str, Any]) -> Any:
    args, attempt = call["args"], call["id"]
    note("begun", attempt, args[0] if isinstance(args[0], int) else len(args[0]))
    match call["action"]:
        case "far_mark":
            time.sleep(args[1])
            value: Any = {"number": 2 * args[0], "attempt": attempt, "by": os.getpid()}
        case "far_stumble":
            if call["attempt"] % 3:
                raise ValueError(f"stumbled over {args[0]}")
            value = args[0]
        case _:
            value = args[0][::-1]
    note("done", attempt, 0)
    return value


def serve(api: str, call: dict[str, Any]) -> None:
    path, own = f"calls/{quote(call['id'], safe='')}", {"worker": WORKER, "token": call["token"]}
    over = threading.Event()
    threading.Thread(target=beat, args=(api, path, own, over), daemon=True).start()
    try:
        said: dict[str, Any] = {"status": "data", "value": perform(call)}
    except ValueError as error:
        said = {"status": "error", "error": {"type": "ValueError", "message": str(error)}}
    over.set()
    try:
        insist(api, "POST", f"{path}/complete", {**own, **said})
    except Refused as refusal:
        print(f"late: {refusal}", flush=True)


def beat(api: str, path: str, own: dict[str, Any], over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        try:
            ask(api, "POST", f"{path}/heartbeat", own)
        except (OSError, Refused, http.client.HTTPException) as error:
            print(f"no heartbeat: {error}", flush=True)


def work(api: str) -> None:
    while True:
        try:
            taken = insist(api, "POST", "calls/take", {"worker": WORKER, "wait_ms": 2_000})
        except Refused as refusal:
            # The server has been started anew and asks who this is.
            print(refusal, flush=True)
            announce(api)
            continue
        for call in taken["calls"]:
            serve(api, call)


def main() -> None:
    api = sys.argv[1]
    announce(api)
    print(f"worker {WORKER} performs", flush=True)
    threads = [threading.Thread(target=work, args=(api,)) for _ in range(SLOTS)]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
