"""What all tests share."""

import asyncio
import inspect
import signal
import sqlite3
import sys

import pytest

# The suites that ship with the package are asserted in like any test.
pytest.register_assert_rewrite("perdure.testing.conformance")


# A shell without job control starts what it puts in the background with SIGINT ignored, and children inherit that: tests that send one to
# themselves or to a child would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Name the SQLite that is linked in: what it can do differs more between machines than Python does."""
    return f"sqlite {sqlite3.sqlite_version}, python {sys.version.split()[0]}"


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on a loop of its own, in real time. A plugin that has its own way with it says so with ``tryfirst``."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = inspect.signature(pyfuncitem.obj).parameters.keys() & pyfuncitem.funcargs.keys()
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in arguments}))
    return True
