"""What all tests share."""

import asyncio
import inspect
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres

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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a database on a PostgreSQL server, which is started here if there is none yet."""
    found = postgres.reachable()
    if found is not None:
        yield found
        return
    # Not pytest's own folder: the server's account must be able to enter it.
    with tempfile.TemporaryDirectory(prefix="perdure-postgres-") as folder, postgres.cluster(Path(folder)) as server:
        if server is None:
            why = "no PostgreSQL: set PERDURE_TEST_POSTGRES, start one on localhost, or install a server"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
        yield server.url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Give the URL of a store in a schema of its own, which is dropped after the test."""
    with postgres.fresh_schema(postgres_server) as url:
        yield url
