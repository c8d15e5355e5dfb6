"""Which PostgreSQL is measured, and why none is, where that is so."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

ON_LOCALHOST = ("postgresql://postgres@127.0.0.1/test", "postgresql://postgres@127.0.0.1/postgres")
VARIABLES = ("PERDURE_BENCH_POSTGRES", "BENCH_PG")
POSTGRES, UNSLOWED = "postgres", "postgres-unslowed"
"""The second is a server like the first, for comparison, where the disk of the first is slowed down."""


class NoServer(Exception):
    """Why the server that was named cannot be measured."""


class Servers(Struct, frozen=True):
    """``urls``: for each store on a server its URL. ``problem``: why there is none."""

    urls: Mapping[str, str]
    problem: str = ""


def find_server(named: str | None) -> Servers:
    """Give the server that was named, by option or variable, else one of this machine. Raises `NoServer` for a named one without answer."""
    named = named or next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)
    try:
        from perdure.bench.postgres.server import problem_with, with_database
    except ModuleNotFoundError as error:
        return _none(named, f"{error.name} is not installed; pip install 'perdure[postgres]' brings it")
    problem = ""
    for url in ON_LOCALHOST if named is None else (with_database(named),):
        found = problem_with(url)
        if found is None:
            return Servers({POSTGRES: url})
        problem = problem or f"no server at {url.rpartition('@')[2]} ({found})"
    return _none(named, problem)


def _none(named: str | None, problem: str) -> Servers:
    if named is not None:
        raise NoServer(problem)
    return Servers({}, f"{problem}; name one with --postgres")


@contextmanager
def slowed_servers(parent: Path | None, environment: Mapping[str, str]) -> Iterator[Servers]:
    """Give two servers of our own, one of them with the slower disk that the environment asks for."""
    try:
        from perdure.bench.postgres.private_cluster import NoCluster, private_cluster
    except ModuleNotFoundError as error:
        yield Servers({}, f"{error.name} is not installed; pip install 'perdure[postgres]' brings it")
        return
    with ExitStack() as stack:
        try:
            urls = {POSTGRES: stack.enter_context(private_cluster(parent, environment))}
            urls[UNSLOWED] = stack.enter_context(private_cluster(parent, {}))
            servers = Servers(urls)
        except NoCluster as error:
            servers = Servers({}, f"a slower disk needs a server of our own: {error}")
        yield servers
