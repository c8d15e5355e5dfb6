"""Catches what cannot be replayed: I/O, clocks, chance, threads and blocking calls in workflow code.

Protects a journal from code that would do something else the next time it is run.

Three nets, from cheap to precise (docs/decisions/0003-determinism-guard.md): an audit hook for whatever the interpreter reports, a scan of
the code for what it does not report, and a watch over every call for the definitions in which the scan found something.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

from perdure.deciders.code.guard import audit, order, silence
from perdure.deciders.code.guard.scan import is_suspicious
from perdure.deciders.code.guard.watch import Watch


class Installation:
    """What the guard has changed in this process. An audit hook stays for good, so there is one, and it is made once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_done = False
        self.strict_depth = 0

    def make(self) -> None:
        with self._lock:
            if not self._is_done:
                sys.addaudithook(audit.on_event)
                order.install()
                silence.install()
                self._is_done = True

    def change_strictness(self, by: int) -> None:
        with self._lock:
            self.strict_depth += by


_installation = Installation()


def install() -> None:
    """Workflow code of this process is guarded from now on, and silent while it is replayed. Safe to call again and from any thread."""
    _installation.make()


def for_function(entry: Callable[..., Any], factory: Any = None) -> Watch | None:
    """Give what must be entered around every run of this workflow's code; ``None`` for code that needs no watch."""
    return Watch() if _installation.strict_depth or _must_watch(entry, factory) else None


@contextmanager
def strict() -> Iterator[None]:
    """Runs that are started or loaded inside are watched, whatever their code looks like; for tests. A step then takes longer."""
    _installation.change_strictness(+1)
    try:
        yield
    finally:
        _installation.change_strictness(-1)


@lru_cache(maxsize=4096)
def _must_watch(entry: Callable[..., Any], factory: Any) -> bool:
    return is_suspicious(entry, factory)
