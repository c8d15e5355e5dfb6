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
from perdure.model.errors import DefinitionAmbiguous, DefinitionConflict, DefinitionNotFound, InvalidOption
from perdure.model.payload import Content
from perdure.model.task import RESERVED

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
    """The definitions and actions that a process knows by name.

    Two of one name and version from different places may be known: which is meant is decided where it matters (see `Bindings`).
    """

    def __init__(self) -> None:
        self._definitions: dict[tuple[str, int], dict[str, Definition]] = {}
        self._actions: dict[str, dict[str, ActionSpec]] = {}
        self._listeners: list[Callable[[], None]] = []

    def add_definition(self, definition: Definition) -> None:
        """The definition is known; one that came from the same place before is replaced. Raises `InvalidOption` for a reserved name."""
        if definition.name.startswith(RESERVED):
            raise InvalidOption(option="name", found=repr(definition.name), expected=f"a name that does not begin with {RESERVED!r}")
        self._definitions.setdefault((definition.name, definition.version), {})[place_of(definition)] = definition
        self._tell()

    def add_action(self, spec: ActionSpec) -> None:
        """The action is known; one that came from the same place before is replaced."""
        self._actions.setdefault(spec.name, {})[_place(spec.function)] = spec
        self._tell()

    def candidates(self, name: str, version: int) -> dict[str, Definition]:
        """Give the definitions of this name and version by the place where they are declared."""
        return self._definitions.get((name, version), {})

    def latest(self, name: str) -> int | None:
        """Give the highest version of a name, ``None`` if it is not known."""
        return max((version for known, version in self._definitions if known == name), default=None)

    def names(self) -> list[str]:
        """Give the names of all definitions."""
        return sorted({name for name, _ in self._definitions})

    def definition(self, name: str, version: int | None = None) -> Definition:
        """Give a definition, the newest version if none is asked; raises `DefinitionNotFound` or `DefinitionAmbiguous`."""
        return self.bound().definition(name, version)

    def action(self, name: str) -> ActionSpec | None:
        """Give an action's declaration, ``None`` if none, or more than one, is known by this name."""
        found = list(self._actions.get(name, {}).values())
        return found[0] if len(found) == 1 else None

    def check(self) -> None:
        """Raise `DefinitionConflict` if two definitions or two actions share a name."""
        for (name, version), found in self._definitions.items():
            if len(found) > 1:
                first, second = [entry.source for entry in found.values()][:2]
                raise DefinitionConflict(what="workflows", name=name, version=version, first=first, second=second)
        for name, known in self._actions.items():
            if len(known) > 1:
                first, second = [code_line(spec.function.__code__) for spec in known.values() if spec.function is not None][:2]
                raise DefinitionConflict(what="actions", name=name, version=1, first=first, second=second)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """``listener`` is called after every addition; the result, called, ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    def bound(self) -> "Bindings":
        """Give the registry as one engine sees it."""
        return Bindings(self)


class Bindings:
    """Which definition of each name one engine means: the one that was started through it. Protects from a run going on with other code
    that happens to have the same name: neither the first nor the last of two wins by chance.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._built_in: dict[str, Definition] = {}
        self._meant: dict[tuple[str, int], str] = {}

    def build_in(self, definition: Definition) -> None:
        """The definition is known by its reserved name, whatever the registry holds."""
        self._built_in[definition.name] = definition

    def bind(self, definition: Definition) -> None:
        """This definition is meant by its name and version; raises `DefinitionConflict` if another one already is."""
        key, place = (definition.name, definition.version), place_of(definition)
        meant = self._meant.setdefault(key, place)
        if meant != place and (other := self._registry.candidates(*key).get(meant)) is not None:
            raise DefinitionConflict(
                what="workflows", name=definition.name, version=definition.version, first=other.source, second=definition.source
            )

    def definition(self, name: str, version: int | None = None) -> Definition:
        """Give a definition, the newest version if none is asked; raises `DefinitionNotFound` or `DefinitionAmbiguous`."""
        if name in self._built_in:
            return self._built_in[name]
        asked = self._registry.latest(name) if version is None else version
        found = self._registry.candidates(name, asked) if asked is not None else {}
        meant = found.get(self._meant.get((name, asked or 0), ""))
        if meant is not None:
            return meant
        if not found:
            wanted = name if version is None else f"{name} version {version}"
            raise DefinitionNotFound(what="workflow", name=wanted, known=", ".join(self._registry.names()) or "none")
        if len(found) > 1:
            first, second = [entry.source for entry in found.values()][:2]
            raise DefinitionAmbiguous(name=name, version=asked, first=first, second=second)
        return next(iter(found.values()))

    def action(self, name: str) -> ActionSpec | None:
        """Give an action's declaration, ``None`` if none, or more than one, is known by this name."""
        return self._registry.action(name)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """``listener`` is called after every addition; the result, called, ends that."""
        return self._registry.listen(listener)

    def check(self) -> None:
        """Raise `DefinitionConflict` if two definitions or two actions share a name; for those who serve whole files."""
        self._registry.check()

    def bound(self) -> "Bindings":
        """Give these bindings: engines that share them mean the same."""
        return self


def place_of(definition: Definition) -> str:
    """Name the place where a definition is declared."""
    return _place(getattr(definition, "entry", None))


def _place(function: Any) -> str:
    """File and name. Functions made inside functions of one file share a place: a later one replaces an earlier, as factories need."""
    code, name = getattr(function, "__code__", None), getattr(function, "__qualname__", "")
    file = code.co_filename if code is not None else repr(function)
    return f"{file}:{'<locals>' if '<locals>' in name else name}"


default_registry = Registry()
