"""A workflow as the engine knows it, and the registry of definitions and actions."""

from collections.abc import Callable, Sequence
from typing import Any

from perdure.deciders.code.decider import CodeDecider
from perdure.deciders.code.instance import Instance, Method
from perdure.deciders.code.places import code_line
from perdure.deciders.code.signature import Signature
from perdure.deciders.decider import Decider, Definition, RunIdentity, Tools
from perdure.model.call import ActionSpec
from perdure.model.codec import Serializer
from perdure.model.errors import DefinitionConflict, DefinitionNotFound, InvalidOption
from perdure.model.payload import Content

CHECKS = ("none", "simple", "strict")


class CodeDefinition:
    """A workflow: a coroutine function, or a class with ``run``, updates and queries."""

    def __init__(
        self,
        entry: Callable[..., Any],
        *,
        name: str,
        version: int = 1,
        check: str = "simple",
        factory: type[Any] | None = None,
    ) -> None:
        if check not in CHECKS:
            raise InvalidOption(option="check", found=repr(check), expected=" or ".join(CHECKS))
        self.name: str = name
        self.version: int = version
        self.entry: Callable[..., Any] = entry
        self.source: str = code_line(entry.__code__)
        self.signature: Signature = Signature(entry, skips_self=factory is not None)
        self.updates: dict[str, Method] = {}
        self.queries: dict[str, Method] = {}
        self._check = check
        self._factory = factory

    @property
    def returns(self) -> Any:
        """The declared type of the result."""
        return self.signature.returns

    def encode_arguments(
        self, serializer: Serializer, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[tuple[Content, ...], dict[str, Content]]:
        return self.signature.encode(serializer, args, kwargs)

    def decider(self, identity: RunIdentity, tools: Tools) -> Decider:
        instance = Instance(self.entry, factory=self._factory, updates=self.updates, queries=self.queries, check=self._check)
        return CodeDecider(identity, tools, instance, self.signature)


class Registry:
    """The definitions and actions that a process knows by name."""

    def __init__(self) -> None:
        self._definitions: dict[tuple[str, int], Definition] = {}
        self._latest: dict[str, int] = {}
        self._actions: dict[str, ActionSpec] = {}
        self._listeners: list[Callable[[], None]] = []

    def add_definition(self, definition: Definition) -> None:
        """The definition is known. One of that name and version from another module-level place raises `DefinitionConflict`."""
        key = (definition.name, definition.version)
        known = self._definitions.get(key)
        if known is not None and _is_other(getattr(known, "entry", known), getattr(definition, "entry", definition)):
            raise DefinitionConflict(
                what="workflows", name=definition.name, version=definition.version, first=known.source, second=definition.source
            )
        self._definitions[key] = definition
        self._latest[definition.name] = max(definition.version, self._latest.get(definition.name, definition.version))
        self._tell()

    def add_action(self, spec: ActionSpec) -> None:
        """The action is known. One of that name from another module-level place raises `DefinitionConflict`."""
        known = self._actions.get(spec.name)
        if known is not None and known.function is not None and _is_other(known.function, spec.function):
            raise DefinitionConflict(
                what="actions", name=spec.name, version=1, first=_source(known.function), second=_source(spec.function)
            )
        self._actions[spec.name] = spec
        self._tell()

    def definition(self, name: str, version: int | None = None) -> Definition:
        """Give a definition, the newest version if none is asked; raises `DefinitionNotFound`."""
        found = self.find_definition(name, self._latest.get(name, 0) if version is None else version)
        if found is None:
            wanted = name if version is None else f"{name} version {version}"
            raise DefinitionNotFound(what="workflow", name=wanted, known=", ".join(sorted(self._latest)) or "none")
        return found

    def find_definition(self, name: str, version: int) -> Definition | None:
        """Give a definition of exactly this version, ``None`` if it is not known here."""
        return self._definitions.get((name, version))

    def action(self, name: str) -> ActionSpec | None:
        """Give an action's declaration, ``None`` if it is not known here."""
        return self._actions.get(name)

    def definitions(self) -> list[Definition]:
        """Give all definitions, by name and version."""
        return [self._definitions[key] for key in sorted(self._definitions)]

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """``listener`` is called after every addition; the result, called, ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()


def _is_other(known: Any, new: Any) -> bool:
    """Functions made inside functions replace each other, as tests and factories need; module-level ones must not."""
    if known is new or "<locals>" in getattr(known, "__qualname__", "") or "<locals>" in getattr(new, "__qualname__", ""):
        return False
    same_place = getattr(known, "__module__", 1) == getattr(new, "__module__", 2) or _file(known) == _file(new)
    return not (same_place and getattr(known, "__qualname__", 1) == getattr(new, "__qualname__", 2))


def _file(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return code.co_filename if code is not None else repr(function)


def _source(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return code_line(code) if code is not None else repr(function)


default_registry = Registry()
