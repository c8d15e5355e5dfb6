"""Nothing grows past the size at which it should have been split."""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from tests.house.asking import ask
from tests.house.source import Module, modules, refuse, sample

FILE_ASK, FILE_STOP = 300, 500
FUNCTION_ASK, FUNCTION_STOP = 25, 50
CLASS_STOP = 250
PROTOCOL_METHODS_MAX = 12
FOLDER_ASK = 12
DRAWERS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "managers"}

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


def body_lines(function: AnyFunction) -> int:
    """Count the lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def oversized(module: Module) -> Iterator[str]:
    """Give what is larger than it may be."""
    lines = len(module.text.splitlines())
    if lines > FILE_STOP:
        yield f"{module.path}: {lines} lines; a file stops at {FILE_STOP}"
    for node in ast.walk(module.tree):
        if isinstance(node, AnyFunction) and body_lines(node) > FUNCTION_STOP:
            yield f"{module.at(node)}: {node.name} has {body_lines(node)} lines; a function body stops at {FUNCTION_STOP}"
        if isinstance(node, ast.ClassDef):
            yield from _oversized_class(module, node)


def _oversized_class(module: Module, node: ast.ClassDef) -> Iterator[str]:
    lines = (node.end_lineno or 0) - node.lineno + 1
    if lines > CLASS_STOP:
        yield f"{module.at(node)}: {node.name} has {lines} lines; a class stops at {CLASS_STOP}"
    methods = sum(isinstance(child, AnyFunction) for child in node.body)
    if is_protocol(node) and methods > PROTOCOL_METHODS_MAX:
        yield f"{module.at(node)}: {node.name} has {methods} methods; a Protocol has at most {PROTOCOL_METHODS_MAX}"


def is_protocol(node: ast.ClassDef) -> bool:
    """Tell whether a class is declared as a Protocol."""
    bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
    return any(ast.unparse(base) in {"Protocol", "typing.Protocol"} for base in bases)


def drawers(module: Module) -> Iterator[str]:
    """Give the module if its name says nothing of what is in it."""
    if set(module.name.rpartition(".")[2].split("_")) & DRAWERS:
        yield f"{module.path}: a drawer; name it for the one thing it holds"


def worth_a_thought(module: Module) -> Iterator[str]:
    """Give what has reached the size at which to ask whether it is two things."""
    lines = len(module.text.splitlines())
    if lines > FILE_ASK:
        yield f"{module.path}: {lines} lines (ask at {FILE_ASK})"
    for node in ast.walk(module.tree):
        if isinstance(node, AnyFunction) and body_lines(node) > FUNCTION_ASK:
            yield f"{module.at(node)}: {node.name}, {body_lines(node)} lines (ask at {FUNCTION_ASK})"


def crowded(found: Iterable[Module]) -> Iterator[str]:
    """Give the folders that hold more modules than one can keep in mind."""
    folders = Counter(str(PurePosixPath(module.path).parent) for module in found if not module.path.endswith("__init__.py"))
    for folder, count in sorted(folders.items()):
        if count > FOLDER_ASK:
            yield f"{folder}: {count} modules (think again after {FOLDER_ASK})"


def test_no_file_function_class_or_protocol_is_over_its_size() -> None:
    refuse(complaint for module in modules() for complaint in oversized(module))


def test_no_module_is_a_drawer() -> None:
    refuse(complaint for module in modules() for complaint in drawers(module))


def test_what_grows_is_named_before_it_is_too_large() -> None:
    for module in modules():
        ask(*worth_a_thought(module))
    ask(*crowded(modules()))


def test_the_rules_of_size_notice_each_excess() -> None:
    long_function = "def long():\n    '''Doc.'''\n" + "    pass\n" * (FUNCTION_STOP + 1)
    long_class = "class Long:\n" + "    x = 1\n" * CLASS_STOP
    wide = "class Wide(Protocol[T]):\n" + "".join(f"    def m{n}(self): ...\n" for n in range(PROTOCOL_METHODS_MAX + 1))
    for text in (long_function, long_class, wide, "x = 1\n" * (FILE_STOP + 1)):
        assert len(list(oversized(sample(text)))) == 1
    fits = "def fits():\n    '''Doc.\n\n    More.\n    '''\n" + "    pass\n" * FUNCTION_STOP
    assert list(oversized(sample(fits))) == []
    assert list(drawers(sample("", "perdure.engine.run_utils")))
    assert list(drawers(sample("", "perdure.engine.committer"))) == []
    assert list(crowded(sample("", f"perdure/m{n}") for n in range(FOLDER_ASK + 1)))
