"""What all tests share."""

import asyncio
import compileall
import inspect
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

import perdure
from perdure.ports.store import Store
from tests import brokers, postgres, stores
from tests.missing import missing

# The suites that ship with the package are asserted in like any test.
pytest.register_assert_rewrite("perdure.testing.conformance")


# A shell without job control starts what it puts in the background with SIGINT ignored, and children inherit that: tests that send one to
# themselves or to a child would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# More than ten seconds each, the longest first.
LONGEST = (
    ("torture", "test_storms.py"),
    ("torture/far", "test_far_storms.py"),
    ("simulation", "test_worlds.py"),
    ("surfaces", "test_asking.py"),
    ("surfaces", "test_bench_postgres.py"),
    ("workers", "test_real_workers.py"),
    ("surfaces", "test_processes.py"),
    ("surfaces", "test_namespaces.py"),
    ("conformance", "test_store_postgres.py"),
    ("surfaces", "test_serve.py"),
    ("surfaces", "test_start.py"),
    ("conformance", "test_transport_rabbitmq_quirks.py"),
    ("surfaces", "test_bench.py"),
    ("surfaces", "test_showing.py"),
    ("workers", "test_processes.py"),
    ("postgresql", "test_pgbouncer.py"),
    ("conformance", "test_transport_database.py"),
    ("typing", "test_checkers.py"),
    ("conformance", "test_store_postgres_faults.py"),
    ("testing_kit", "test_plugin.py"),
    ("crash", "test_kill_at_any_instant.py"),
    ("torture", "test_cluster.py"),
    ("conformance", "test_store_postgres_schema.py"),
    ("control", "test_moving.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once: hundreds of tests start processes that import it, and which may be told to write no bytecode themselves."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(perdure.__file__).parent, quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take the longest: of several workers none is left with a long one in the end."""
    ranks = {Path(__file__).parent / folder / file: rank for rank, (folder, file) in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


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
            missing(why)
        yield server.url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Give the URL of a store in a schema of its own, which is dropped after the test."""
    with postgres.fresh_schema(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def renewed_schemas(postgres_server: str) -> Iterator[postgres.RenewedSchemas]:
    """Give schemas that are used again and again; they are dropped in the end."""
    with ExitStack() as stack:
        yield postgres.RenewedSchemas(postgres_server, stack)


@pytest.fixture
def renewed_postgres_url(renewed_schemas: postgres.RenewedSchemas) -> str:
    """Give the URL of a store that is as new, with 8 partitions: for the many tests that do not ask how a schema comes to be."""
    return renewed_schemas.next()


@pytest.fixture(params=stores.EVERY)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of each store in turn, as new."""
    return stores.url_of(request.param, tmp_path, lambda: str(request.getfixturevalue("renewed_postgres_url")))


@pytest.fixture(params=stores.ON_DISK)
def disk_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of each store that outlives its process, as new."""
    return stores.url_of(request.param, tmp_path, lambda: str(request.getfixturevalue("renewed_postgres_url")))


@pytest.fixture(params=stores.EVERY)
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn, as new, and closed."""
    return stores.store_of(request.param, tmp_path, lambda: str(request.getfixturevalue("renewed_postgres_url")))


def _there(server: str, product: str) -> str:
    if not brokers.answers(server):
        why = f"no {product}: name one in the environment, or start one on localhost"
        missing(why)
    return server


@pytest.fixture(scope="session")
def amqp_server() -> str:
    """Give the URL of a RabbitMQ."""
    return _there(brokers.amqp_server(), "RabbitMQ")


@pytest.fixture(scope="session")
def nats_server() -> str:
    """Give the URL of a NATS server with JetStream."""
    return _there(brokers.nats_server(), "NATS")


@pytest.fixture
def amqp_url(amqp_server: str) -> str:
    """Give the URL of a transport with a prefix of its own; its queues go by themselves a minute after the test."""
    return f"{amqp_server}?prefix=test_{uuid4().hex[:16]}&queues_expire=60"


@pytest.fixture
def nats_url(nats_server: str) -> Iterator[str]:
    """Give the URL of a transport with a prefix of its own; its streams are deleted after the test."""
    prefix = f"test_{uuid4().hex[:16]}"
    yield f"{nats_server}?prefix={prefix}"
    asyncio.run(brokers.delete_streams(nats_server, prefix))
