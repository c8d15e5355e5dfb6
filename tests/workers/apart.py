"""Actions that run in processes, which must be able to import them."""

import os
import signal
import time
from pathlib import Path

import perdure
from perdure import Registry, action

registry = Registry()


class Odd(Exception):
    """Raised in a process, caught in another."""


class Point:
    """No plain value."""


@action(registry=registry, runs_in="process")
def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


@action(registry=registry, runs_in="process")
def join(first: bytes, *, second: bytes = b"-") -> bytes:
    return first + second


@action(registry=registry, runs_in="process")
def fail(text: str) -> None:
    raise Odd(text)


@action(registry=registry, runs_in="process")
def later(text: str) -> None:
    raise perdure.RetryAfter("5s", text)


@action(registry=registry, runs_in="process")
def lie() -> int:
    return "no number"  # type: ignore[return-value]


@action(registry=registry, runs_in="process")
def nothing_plain() -> object:
    return Point()


@action(registry=registry, runs_in="process")
def leave_open() -> int:
    return perdure.pending()


@action(registry=registry, runs_in="process")
def leave_empty() -> int:
    found: int = perdure.EMPTY
    return found


@action(registry=registry, runs_in="process")
def crash(code: int) -> None:
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


@action(registry=registry, runs_in="process")
def identity() -> tuple[str, str, int, object]:
    current = perdure.attempt()
    return current.key, current.run, current.number, current.details


@action(registry=registry, runs_in="process")
def beat_until_cancelled(seen: str) -> str:
    current = perdure.attempt()
    current.heartbeat({"at": 1})
    while not current.is_cancelled:
        time.sleep(0.001)
    Path(seen).write_text("cancelled")
    return "cancelled"


@action(registry=registry, runs_in="process")
def hang() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    perdure.attempt().heartbeat(os.getpid())
    while True:
        time.sleep(1)
