"""Where the engine looks up what a run is made of."""

from collections.abc import Callable
from typing import Any, Protocol


class Definitions(Protocol):
    """Known definitions and actions, by name. What they are is the deciders' business; the engine hands them on."""

    def definition(self, name: str, version: int | None = None) -> Any:
        """Give a definition, the newest version if none is asked; raises `DefinitionNotFound`."""
        ...

    def action(self, name: str) -> Any | None:
        """Give an action's declaration, ``None`` if it is not known here."""
        ...

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """``listener`` is called after every addition; the result, called, ends that."""
        ...
