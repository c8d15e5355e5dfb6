"""The user's side of one run: a plain function, or an object of a workflow class with its updates and queries."""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from perdure.deciders.code.signature import Signature
from perdure.model.errors import DefinitionNotFound


class Method:
    """An ``@update`` or ``@query`` method of a workflow class."""

    def __init__(self, function: Callable[..., Any], validator: Callable[..., Any] | None = None) -> None:
        self.function = function
        self.validator = validator
        self.signature = Signature(function, skips_self=True)


class Instance:
    """One run's object. ``factory`` is ``None`` for the function form."""

    def __init__(
        self,
        entry: Callable[..., Any],
        *,
        factory: type[Any] | None = None,
        updates: dict[str, Method] | None = None,
        queries: dict[str, Method] | None = None,
        check: str = "simple",
    ) -> None:
        self.entry = entry
        self.check = check
        self.factory: Any = factory
        self._updates = updates or {}
        self._queries = queries or {}
        self._target: Any = None

    def begin(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        """Give the coroutine of the run. The object of a class is made by its first step, inside the run's own loop."""
        if self.factory is None:
            coro: Coroutine[Any, Any, Any] = self.entry(*args, **kwargs)
            return coro
        self._target = self.factory.__new__(self.factory)
        return self._begin_instance(args, kwargs)

    async def _begin_instance(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        self._target.__init__()
        return await self.entry(self._target, *args, **kwargs)

    def has_validator(self, update: str) -> bool:
        return update in self._updates and self._updates[update].validator is not None

    def update(self, name: str) -> Method:
        return self._method(self._updates, name, "update")

    def query(self, name: str) -> Method:
        return self._method(self._queries, name, "query")

    def _method(self, known: dict[str, Method], name: str, what: str) -> Method:
        if name not in known:
            raise DefinitionNotFound(what=what, name=name, known=", ".join(sorted(known)) or "none")
        return known[name]

    async def call_update(self, method: Method, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        result = method.function(self._target, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def validate(self, method: Method, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        if method.validator is not None:
            method.validator(self._target, *args, **kwargs)

    def call_query(self, method: Method, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return method.function(self._target, *args, **kwargs)
