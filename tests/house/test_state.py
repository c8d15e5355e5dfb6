"""Nothing happens and nothing is kept at import: no mutable state in modules, no environment, no work."""

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.house.source import Module, modules, refuse, sample

MUTABLE_MAKERS = {
    "list", "dict", "set", "bytearray",
    "defaultdict", "OrderedDict", "Counter", "deque", "ChainMap",
    "WeakKeyDictionary", "WeakValueDictionary", "WeakSet",
    "Queue", "SimpleQueue", "PriorityQueue", "LifoQueue", "Lock", "RLock", "Event", "Condition", "Semaphore", "count", "cycle",
}  # fmt: skip
MUTABLE_DISPLAYS = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
# A type checker refuses to change what is declared as one of these.
READ_ONLY_TYPES = {"Mapping", "Sequence", "Collection", "Iterable", "AbstractSet", "frozenset", "tuple"}

MUTATORS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove", "discard", "clear", "sort", "reverse"}

# Only the settings read the environment; the demo and the benchmark are programs, not the library. A secret is read where it is used, from
# the variable that its reference names.
ENVIRONMENT_READERS = ("perdure.config", "perdure.actions.secret", "perdure.demo", "perdure.bench")
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def mutable_state(module: Module) -> Iterator[str]:
    """Give the module-level names whose value can change, and the functions that rebind one."""
    for name, annotation, value, node in _module_names(module.tree.body):
        if name == "__all__" or not _is_mutable(value) or _is_read_only(annotation):
            continue
        if not _is_table(name, value) or name in _changed_names(module.tree):
            yield f"{module.at(node)}: {name} is mutable state of a module; use a tuple or frozenset, or declare it a Mapping or Sequence"
    for found in ast.walk(module.tree):
        if isinstance(found, ast.Global):
            yield f"{module.at(found)}: global {', '.join(found.names)}"


def _module_names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr | None, ast.expr, ast.stmt]]:
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield ast.unparse(target), None, node.value, node
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.annotation, node.value, node
        elif isinstance(node, ast.If | ast.Try):
            yield from _module_names([*node.body, *node.orelse])


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2].partition("[")[0] in MUTABLE_MAKERS
    return isinstance(value, MUTABLE_DISPLAYS)


def _is_read_only(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).rpartition(".")[2] == "Final":
        annotation = annotation.slice
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return ast.unparse(outer).rpartition(".")[2] in READ_ONLY_TYPES


def _is_table(name: str, value: ast.expr) -> bool:
    """A filled table in capitals, private to its module, is a constant as long as the module leaves it alone."""
    is_private_constant = name.startswith("_") and name.isupper()
    return is_private_constant and isinstance(value, MUTABLE_DISPLAYS) and ast.unparse(value) not in {"[]", "{}"}


def _changed_names(tree: ast.Module) -> set[str]:
    changed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed.add(ast.unparse(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            changed.add(ast.unparse(node.func.value))
        elif isinstance(node, ast.AugAssign):
            changed.add(ast.unparse(node.target))
    return changed


def environment_reads(module: Module) -> Iterator[str]:
    """Give the places that look at the environment, and every such place in module-level code."""
    if module.is_within(*ENVIRONMENT_READERS):
        return
    for node in ast.walk(module.tree):
        by_attribute = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr in ENVIRONMENT
        by_import = isinstance(node, ast.ImportFrom) and node.module == "os" and any(name.name in ENVIRONMENT for name in node.names)
        if by_attribute or by_import:
            yield f"{module.at(node)}: reads the environment; settings come from perdure.config"


def work_at_import(module: Module) -> Iterator[str]:
    """Give the statements that do something as soon as the module is imported."""
    if module.name.endswith("__main__"):
        return
    for node in module.tree.body:
        is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)
        if is_call or isinstance(node, ast.For | ast.While | ast.With):
            yield f"{module.at(node)}: work at import"


@pytest.mark.parametrize("rule", [mutable_state, environment_reads, work_at_import])
def test_importing_a_module_keeps_and_does_nothing(rule: Callable[[Module], Iterator[str]]) -> None:
    refuse(complaint for module in modules() for complaint in rule(module))


@pytest.mark.parametrize(
    "text",
    [
        "seen = {}",
        "SEEN = []",
        "_SEEN = {}",
        "_SEEN = {'a': 1}\ndef f():\n    _SEEN['b'] = 2",
        "_SEEN = ['a']\ndef f():\n    _SEEN.append('b')",
        "seen: dict[str, int] = {}",
        "seen = collections.defaultdict(list)",
        "seen = WeakValueDictionary[str, int]()",
        "if True:\n    seen = set()",
        "def f():\n    global seen\n    seen = 1",
    ],
)
def test_mutable_state_is_noticed(text: str) -> None:
    assert len(list(mutable_state(sample(text)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "__all__ = ['a']",
        "KINDS: Mapping[str, int] = {'a': 1}",
        "KINDS: Final[Mapping[str, int]] = {'a': 1}",
        "KINDS = frozenset({'a'})",
        "_KINDS = {'a': 1}\ndef f():\n    return _KINDS['a']",
        "KINDS = ('a', ['b'])",
        "def f():\n    seen = {}",
        "class A:\n    x: dict = {}",
    ],
)
def test_constants_are_no_mutable_state(text: str) -> None:
    assert list(mutable_state(sample(text))) == []


def test_environment_reads_and_work_at_import_are_noticed() -> None:
    assert list(environment_reads(sample("import os\ndef f():\n    return os.environ['A']")))
    assert list(environment_reads(sample("from os import getenv")))
    assert list(environment_reads(sample("import os\nos.getenv('A')", "perdure.config"))) == []
    assert list(work_at_import(sample("import logging\nlogging.basicConfig()")))
    assert list(work_at_import(sample('"""Doc."""\nx = f()'))) == []
