"""The core needs the standard library and msgspec; every other product has one place.

The floors themselves are import-linter's. Here is what it cannot say: which of the floors below a module may name at all.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

from tests.house.source import ROOT, Module, modules, refuse, sample

CORE = frozenset({"perdure", "msgspec"})

# Where a product may be imported. Whatever is not named here may be imported nowhere.
PLACES: dict[str, tuple[str, ...]] = {
    # The bench lays the bare driver beside the store, what it could do with nothing around it, and reads the server's own figures.
    "sqlite3": ("perdure.stores.sqlite", "perdure.bench.raw"),
    "asyncpg": ("perdure.stores.postgres", "perdure.bench.postgres"),
    "aiormq": ("perdure.transports.rabbitmq", "perdure.bench.raw_rabbitmq"),
    "nats": ("perdure.transports.nats", "perdure.bench.raw_nats"),
    # Connections of callers: the driver is theirs, and is not imported unless they have.
    "psycopg": ("perdure.stores.postgres.guests",),
    "cryptography": ("perdure.codecs.encryption", "perdure.actions.personal.vault"),
    "grpc": ("perdure.transports.grpc",),
    "grpc_reflection": ("perdure.transports.grpc",),
    "google": ("perdure.transports.grpc",),
    "fastavro": ("perdure.wire.avro",),
    "jsonschema_rs": ("perdure.wire.checking", "perdure.wire.forms"),
    "uvloop": ("perdure.app", "perdure.blocking", "perdure.cli", "perdure.bench"),
    "rich": ("perdure.cli", "perdure.demo", "perdure.bench"),
    "cyclopts": ("perdure.cli",),
    "httpx": ("perdure.transports.http", "perdure.transports.pull", "perdure.actions.web", "perdure.actions", "perdure.bench.raw_http"),
    "jmespath": ("perdure.actions",),
    "jsonpath": ("perdure.actions.querying",),
    "lxml": ("perdure.actions.markup",),
    "cssselect": ("perdure.actions.markup",),
    "jinja2": ("perdure.actions.templates",),
    "regex": ("perdure.actions",),
    "starlette": ("perdure.api",),
    "uvicorn": ("perdure.api", "perdure.bench.raw_http"),
    "PIL": ("perdure.demo", "perdure.cli.demo"),
    "pytest": ("perdure.testing",),
    "_pytest": ("perdure.testing",),
    "hypothesis": ("perdure.testing",),
}
# Reading these back runs code or depends on the interpreter: nothing of ours is ever stored so.
REFUSED = frozenset({"pickle", "shelve", "marshal"})

# Adapters are named where the application is put together, and nowhere else; surfaces know no decider either.
ADAPTERS = ("perdure.stores", "perdure.transports", "perdure.sinks")
NAME_ADAPTERS = ("perdure.app", "perdure.testing", *ADAPTERS)
SURFACES = ("perdure.cli", "perdure.dashboard", "perdure.api")

# These modules cannot be imported without their extra. All others can.
NEED_EXTRAS = (
    "perdure.stores.postgres",
    "perdure.transports.rabbitmq",
    "perdure.transports.nats",
    "perdure.transports.pull",
    "perdure.bench.raw_rabbitmq",
    "perdure.bench.raw_nats",
    "perdure.transports.grpc",
    "perdure.codecs.encryption",
    "perdure.wire.avro",
    "perdure.actions",
    "perdure.api",
    "perdure.transports.http",
    "perdure.testing",
    "perdure.cli",
    "perdure.demo",
    "perdure.bench",
    "perdure.__main__",
)

# `python -c` with this first finds none of the products of the extras, installed or not.
WITHOUT_EXTRAS = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {sorted(PLACES.keys() - {"sqlite3"})}:
            raise ModuleNotFoundError(f'{{name}} is an extra', name=name)
sys.meta_path.insert(0, Absent())
"""


def imported(module: Module) -> Iterator[tuple[str, ast.stmt]]:
    """Give the top name of everything a module imports, wherever the statement stands."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], node) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("perdure" if node.level else (node.module or "").partition(".")[0]), node


def misplaced(module: Module) -> Iterator[str]:
    """Give the imports of products outside the places that are theirs."""
    for name, node in imported(module):
        if name in REFUSED:
            yield f"{module.at(node)}: imports {name}"
        elif name in PLACES:
            if not module.is_within(*PLACES[name]):
                yield f"{module.at(node)}: imports {name}; its place is {' or '.join(PLACES[name])}"
        elif name not in CORE and name not in sys.stdlib_module_names:
            yield f"{module.at(node)}: imports {name}, which is neither the standard library nor msgspec nor given a place"


def overreaching(module: Module) -> Iterator[str]:
    """Give the imports of adapters outside the composition root, and of deciders in surfaces."""
    for name in sorted(imported_in_full(module)):
        if f"{name}.".startswith(tuple(f"{adapter}." for adapter in ADAPTERS)) and not module.is_within(*NAME_ADAPTERS):
            yield f"{module.path}: imports {name}; only perdure.app names adapters"
        if f"{name}.".startswith("perdure.deciders.") and module.is_within(*SURFACES):
            yield f"{module.path}: imports {name}; a surface asks client, insight and control"


def imported_in_full(module: Module) -> set[str]:
    """Give the dotted names of what a module imports of the package, without the names inside a module."""
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "perdure":
            names |= {f"perdure.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name for name in names if name.startswith("perdure.")}


def test_products_are_imported_only_in_their_places() -> None:
    refuse(complaint for module in modules() for complaint in misplaced(module))


def test_misplaced_imports_are_noticed() -> None:
    assert list(misplaced(sample("import sqlite3", "perdure.engine.runs")))
    assert list(misplaced(sample("def f():\n    from rich.live import Live", "perdure.app")))
    assert list(misplaced(sample("import requests", "perdure.cli")))
    assert list(misplaced(sample("import pickle", "perdure.codecs.plain")))
    fine = "import asyncio, msgspec.json\nfrom perdure.model import ids\nfrom . import ids"
    assert list(misplaced(sample(fine))) == []
    assert list(misplaced(sample("import sqlite3", "perdure.stores.sqlite.connection"))) == []
    assert list(misplaced(sample("import sqlite3", "perdure.stores.sqlite_view"))) != []


def test_adapters_are_named_in_the_composition_root_only() -> None:
    refuse(complaint for module in modules() for complaint in overreaching(module))


def test_overreaching_imports_are_noticed() -> None:
    assert list(overreaching(sample("from perdure.stores.memory import MemoryStore", "perdure.engine.runs")))
    assert list(overreaching(sample("from perdure import stores", "perdure.cli.list")))
    assert list(overreaching(sample("def f():\n    import perdure.deciders.code", "perdure.cli")))
    assert list(overreaching(sample("from perdure.stores.memory import MemoryStore", "perdure.app"))) == []
    assert list(overreaching(sample("from perdure.deciders import decider", "perdure.engine.runs"))) == []


@cache
def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS + code], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


def test_everything_but_the_extras_imports_without_extras() -> None:
    names = [module.name for module in modules() if not module.is_within(*NEED_EXTRAS)]
    result = _python(f"import importlib\nfor name in {names}: importlib.import_module(name)")
    assert result.returncode == 0, result.stderr


def test_the_command_shows_its_help_without_extras() -> None:
    result = _python("sys.argv = ['perdure', '--help']\nfrom perdure.cli import main\nsys.exit(main())")
    assert result.returncode == 0, result.stderr
    assert "perdure" in result.stdout.lower()


def test_an_extra_is_absent_where_it_is_made_absent() -> None:
    assert "rich is an extra" in _python("import rich").stderr


def test_nothing_of_production_imports_the_testing_kit() -> None:
    users = [module for module in modules() if not module.is_within("perdure.testing")]
    refuse(module.path for module in users for name in imported_in_full(module) if f"{name}.".startswith("perdure.testing."))
