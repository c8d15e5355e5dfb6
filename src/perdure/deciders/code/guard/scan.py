"""The second net: reads the code of a definition, and of all that it can reach, for names that lead to a clock, chance or the outside.

Coarse on purpose: what it finds is only watched, never refused. What it cannot see is what comes to the code at run time under an
innocent name; the strict mode of tests is for that.
"""

import builtins
import dis
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from perdure.deciders.code.guard.effects import FUNCTIONS, instead_of_call

REACHED_MAX = 2_000
_MEMBERS_MAX = 200

_MODULES = frozenset(
    {
        "time",
        "random",
        "secrets",
        "uuid",
        "os",
        "posix",
        "nt",
        "posixpath",
        "ntpath",
        "genericpath",
        "pathlib",
        "shutil",
        "glob",
        "tempfile",
    }
    | {"threading", "_thread", "queue", "_queue", "concurrent", "multiprocessing", "subprocess", "signal", "select", "selectors"}
    | {"socket", "_socket", "ssl", "http", "ftplib", "imaplib", "poplib", "smtplib", "sqlite3", "_sqlite3", "webbrowser"}
    | {"platform", "getpass", "ctypes", "mmap", "fcntl", "pty", "importlib"}
)
# The generated ``__repr__`` of a dataclass asks for ``get_ident``; it harms nobody.
_PURE = frozenset(
    {"UUID", "SafeUUID", "uuid3", "uuid5", "struct_time", "strptime", "mktime", "HTTPStatus", "HTTPMethod", "get_ident"}
    | {"join", "basename", "dirname", "split", "splitext", "normpath", "normcase", "isabs", "commonpath", "commonprefix", "fspath"}
    | {"PathLike", "PurePath", "PurePosixPath", "PureWindowsPath"}
)
# On an object that the scan knows nothing of, these are read as a clock or as chance.
_TELLING = frozenset({"now", "today", "utcnow", "uuid1", "uuid4"})
_DYNAMIC = (builtins.exec, builtins.eval, builtins.__import__)

_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_CELLS = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"})
_UNKNOWN = object()
_NAMED = (FunctionType, MethodType, BuiltinFunctionType, type)
_WRAPPERS = (functools.partial, property, staticmethod, classmethod, functools.cached_property)
_CONTAINERS = (dict, list, tuple, set, frozenset)


def is_suspicious(entry: Callable[..., Any], factory: type[Any] | None = None) -> bool:
    """Tell whether this code may lead to what cannot be replayed. Runs none of it."""
    scan = _Scan()
    scan.take_own(factory if factory is not None else entry)
    scan.take_own(entry)
    return scan.finds()


class _Scan:
    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}
        self._todo: list[Any] = []
        self._is_suspicious = False

    def finds(self) -> bool:
        while self._todo and not self._is_suspicious and len(self._seen) < REACHED_MAX:
            reached = self._todo.pop()
            if isinstance(reached, FunctionType):
                self._read_function(reached)
            else:
                self._read_class(reached)
        return self._is_suspicious or bool(self._todo)

    def take_own(self, reached: Any) -> None:
        """The author's function or class is read, once."""
        if id(reached) not in self._seen:
            self._seen[id(reached)] = reached
            self._todo.append(reached)

    def take(self, value: Any) -> None:
        """A value that the code has in hand: it is suspicious, or harmless, or has code of the author's to read."""
        if value is _UNKNOWN or self._is_suspicious:
            return
        home = _home(value)
        if _is_effect(value, home):
            self._is_suspicious = True
        elif home == "perdure":
            self._take_declared(value)
        elif home not in sys.stdlib_module_names or isinstance(value, _WRAPPERS + _CONTAINERS):
            self._take_authors(value)

    def _take_authors(self, value: Any) -> None:
        match value:
            case ModuleType():
                pass
            case FunctionType() | type():
                self.take_own(value)
            case MethodType():
                self.take(value.__func__)
                self.take(type(value.__self__))
            case functools.partial() | property() | staticmethod() | classmethod() | functools.cached_property():
                self._take_all(_wrapped(value))
            case dict() | list() | tuple() | set() | frozenset():
                self._take_members(value)
            case _:
                self._take_all(_wrapped(value))
                self.take(type(value))

    def _take_members(self, values: Any) -> None:
        if id(values) not in self._seen and len(values) <= _MEMBERS_MAX:
            self._seen[id(values)] = values
            self._take_all(iter(values.values() if isinstance(values, dict) else values))

    def _take_all(self, values: Iterator[Any]) -> None:
        for value in values:
            self.take(value)

    def _take_declared(self, value: Any) -> None:
        """An action or a child is not run here, but what it returns is; updates and queries are."""
        held = getattr(value, "__dict__", {})
        function = held.get("function")
        if isinstance(value, type) or function is None:
            return
        if "spec" in held or "definition" in held:
            self._take_annotations(function, ("return",))
        else:
            self._take_all(part for part in (function, held.get("check")) if part is not None)

    def _take_annotations(self, function: Any, names: tuple[str, ...] | None = None) -> None:
        annotations = getattr(function, "__annotations__", {})
        known = getattr(function, "__globals__", {})
        for name, annotation in annotations.items():
            if names is None or name in names:
                words = re.findall(r"[A-Za-z_]\w*", annotation) if isinstance(annotation, str) else ()
                for named in (annotation, *(known.get(word, _UNKNOWN) for word in words)):
                    if isinstance(named, type) and _home(named) not in sys.stdlib_module_names:
                        self.take(named)

    def _read_class(self, reached: type) -> None:
        for owner in reached.__mro__:
            if _home(owner) not in sys.stdlib_module_names and _home(owner) != "perdure":
                self._take_all(iter(list(vars(owner).values())))

    def _read_function(self, function: FunctionType) -> None:
        self._take_annotations(function)
        self._take_all(iter((*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())))
        wrapped = vars(function).get("__wrapped__")
        if wrapped is not None:
            self.take(wrapped)
        cells = dict(zip(function.__code__.co_freevars, map(_content, function.__closure__ or ()), strict=False))
        self._read(function.__code__, function.__globals__, cells)

    def _read(self, code: CodeType, known: Mapping[str, Any], cells: Mapping[str, Any]) -> None:
        value: Any = _UNKNOWN
        for step in dis.get_instructions(code):
            if step.opname in _ATTRIBUTES:
                value = self._attribute(value, step.argval)
                continue
            self.take(value)
            value = self._load(step, known, cells)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._read(constant, known, cells)

    def _load(self, step: dis.Instruction, known: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
        name = step.argval
        if step.opname in _GLOBALS:
            return known.get(name, vars(builtins).get(name, _UNKNOWN))
        if step.opname in _CELLS:
            return cells.get(name, _UNKNOWN)
        if step.opname == "IMPORT_NAME":
            self._is_suspicious |= name not in sys.modules or name.partition(".")[0] in _MODULES
            return sys.modules.get(name, _UNKNOWN)
        return _UNKNOWN

    def _attribute(self, value: Any, name: str) -> Any:
        if isinstance(value, ModuleType):
            return vars(value).get(name, _UNKNOWN)
        if isinstance(value, type):
            found = next((vars(owner)[name] for owner in value.__mro__ if name in vars(owner)), _UNKNOWN)
            self._is_suspicious |= name in _TELLING and _home(value) != "perdure" and not isinstance(found, FunctionType)
            self.take(value)
            return found
        self._is_suspicious |= name in _TELLING
        self.take(value)
        return _UNKNOWN


def _home(value: Any) -> str:
    """Name the top module that a value, or else its type, comes from."""
    if isinstance(value, ModuleType):
        name = value.__name__
    elif isinstance(value, _NAMED):
        name = value.__module__ or ""
    else:
        name = type(value).__module__
    return str(name).partition(".")[0]


def _is_effect(value: Any, home: str) -> bool:
    if isinstance(value, BuiltinFunctionType) and (value in _DYNAMIC or instead_of_call(value) is not None):
        return True
    if isinstance(value, FunctionType) and value.__code__ in FUNCTIONS.get(value.__code__.co_name, ()):
        return True
    if home not in _MODULES:
        return False
    named = value if isinstance(value, _NAMED) else type(value)
    return isinstance(value, ModuleType) or named.__name__ not in _PURE


def _wrapped(value: Any) -> Iterator[Any]:
    """Give the functions inside a wrapper."""
    for name in ("func", "fget", "fset", "__func__", "__wrapped__"):
        inner = getattr(value, name, None) if isinstance(value, _WRAPPERS) else getattr(value, "__dict__", {}).get(name)
        if inner is not None:
            yield inner


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _UNKNOWN
