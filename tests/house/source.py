"""The project's own source, read once: what the house rules are checked on."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "perdure"


@dataclass(frozen=True)
class Module:
    """One parsed file; ``name`` is dotted, ``path`` relative to the checkout."""

    name: str
    path: str
    text: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        """Say where a node stands, as an editor understands it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"

    def is_within(self, *names: str) -> bool:
        """Tell whether this is one of these modules or lies below one."""
        return any(self.name == name or self.name.startswith(f"{name}.") for name in names)


def refuse(complaints: Iterable[str]) -> None:
    """Fail with every complaint on a line of its own, so that an editor can jump to it."""
    __tracebackhide__ = True
    found = list(complaints)
    if found:
        raise AssertionError("\n".join(["", *found]))


def sample(text: str, name: str = "perdure.sample") -> Module:
    """Give a module that does not exist, to show that a rule notices what it should."""
    return Module(name, f"{name}.py", text, ast.parse(text))


def read(path: Path, name: str) -> Module:
    """Give the module in a file."""
    text = path.read_text(encoding="utf-8")
    return Module(name, path.relative_to(ROOT).as_posix(), text, ast.parse(text, str(path)))


@cache
def modules() -> tuple[Module, ...]:
    """Give every module of the package but the generated ones."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if "_pb2" not in path.name)
    return tuple(read(path, _dotted(path)) for path in paths)


def _dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def written_files() -> tuple[Path, ...]:
    """Give every file that people wrote: no caches, no environments, no build results, nothing binary."""
    tops = ["src", "tests", "docs", "bench", "examples", "scripts", ".ci", ".github"]
    found = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file()]
    # In a second working tree of one clone, `.git` is a file, and git's own.
    found += [
        path for path in ROOT.iterdir() if path.is_file() and path.suffix not in {".db", ".db-shm", ".db-wal"} and path.name != ".git"
    ]
    return tuple(sorted(path for path in found if not _is_made(path)))


def _is_made(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    if any(part == "__pycache__" or part.endswith((".egg-info", "_cache")) for part in parts):
        return True
    return b"\0" in path.read_bytes()[:4096]
