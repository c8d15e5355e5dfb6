"""What a user can reach is explained where it stands: the public names, the methods of the ports, every module."""

import ast
from collections.abc import Iterator

from tests.house.source import Module, modules, refuse, sample
from tests.house.test_sizes import is_protocol

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def exports(package: Module) -> dict[str, tuple[str, str]]:
    """Give the module and the name behind each public name of a package."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(package.tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("perdure"):
            found |= {name.asname or name.name: (node.module, name.name) for name in node.names}
    return {public: place for public, place in found.items() if not public.startswith("_")}


def definition(by_name: dict[str, Module], module: str, name: str) -> tuple[Module, Definition] | None:
    """Find where a name is defined, through any number of re-exports; ``None`` for what is no class or function."""
    found = by_name.get(module)
    if found is None:
        return None
    for node in ast.walk(found.tree):
        if isinstance(node, Definition) and node.name == name:
            return found, node
    onward = exports(found).get(name)
    return definition(by_name, *onward) if onward and onward != (module, name) else None


def unexplained(module: Module, node: Definition) -> Iterator[str]:
    """Give a public definition that says nothing, and its public methods that do not."""
    if ast.get_docstring(node) is None and not _explains_itself(node):
        yield f"{module.at(node)}: {node.name} has no docstring"
    if isinstance(node, ast.ClassDef):
        yield from unexplained_methods(module, node)


def unexplained_methods(module: Module, node: ast.ClassDef) -> Iterator[str]:
    """Give the public methods of a class that have no docstring."""
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_") or _is_variant(child):
            continue
        if ast.get_docstring(child) is None:
            yield f"{module.at(child)}: {node.name}.{child.name} has no docstring"


def _explains_itself(node: Definition) -> bool:
    """An error's own message is its explanation; of an overload only the implementation is explained."""
    if isinstance(node, ast.ClassDef):
        return any(isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) in {"text", "kind"} for child in node.body)
    return _is_variant(node)


def _is_variant(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"overload", "setter", "deleter", "override"})


def test_every_public_name_has_a_docstring() -> None:
    by_name = {module.name: module for module in modules()}
    package = by_name["perdure"]
    found = [definition(by_name, *place) for place in exports(package).values()]
    refuse(complaint for pair in found if pair for complaint in unexplained(*pair))


def test_every_method_of_a_port_has_a_docstring() -> None:
    public = [
        (module, node)
        for module in modules()
        if module.is_within("perdure.ports")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and is_protocol(node) and not node.name.startswith("_")
    ]
    refuse(complaint for module, node in public for complaint in unexplained_methods(module, node))


def test_every_module_says_what_it_holds() -> None:
    refuse(module.path for module in modules() if module.text.strip() and ast.get_docstring(module.tree) is None)


def test_missing_docstrings_are_noticed() -> None:
    package = sample("from perdure.a import Thing, act\nfrom perdure.b import other as _other", "perdure")
    first = sample("from perdure.c import Thing\ndef act(): ...", "perdure.a")
    second = sample("class Thing:\n    '''Doc.'''\n    def go(self): ...\n    def _hidden(self): ...", "perdure.c")
    by_name = {module.name: module for module in (package, first, second)}
    assert exports(package) == {"Thing": ("perdure.a", "Thing"), "act": ("perdure.a", "act")}
    found = [definition(by_name, *place) for place in exports(package).values()]
    assert [complaint for pair in found if pair for complaint in unexplained(*pair)] == [
        "perdure.c.py:3: Thing.go has no docstring",
        "perdure.a.py:2: act has no docstring",
    ]
