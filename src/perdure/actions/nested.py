"""``wait``, ``run_definition`` and ``group``: steps of the workflow that calls them. They hold no slot, and no worker has them."""

import asyncio
from typing import Any, Final

import msgspec

from perdure.actions.configured import Item, Items, Options, Step, check_span, configurable, pass_on, seconds
from perdure.deciders.code.children import child
from perdure.model.errors import InvalidOption, PerdureError
from perdure.model.payload import EMPTY

MEMBERS_MAX: Final = 1_000


class Wait(Options, frozen=True, kw_only=True):
    """``span``: how long, such as ``"1h"``."""

    span: str

    def check(self) -> None:
        """As `Options.check`."""
        check_span("wait.span", self.span)


async def perform_wait(items: Items, *, config: Wait) -> Items:
    """Pass the items on when the time is over: a durable timer of the run, which a crash does not lose."""
    await asyncio.sleep(seconds(config.span))
    return list(items)


class RunDefinition(Options, frozen=True, kw_only=True):
    """``definition``: the name of what is run with the items. ``version``: of it, otherwise the newest."""

    definition: str
    version: int | None = None

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("run_definition")
        if not self.definition:
            raise InvalidOption(option="run_definition.definition", found="an empty text", expected="the name of a definition")


async def perform_run_definition(items: Items, *, config: RunDefinition) -> Items:
    """Run another definition as a child with the items, and pass on how it ended: one item ``{definition, run, type, data}`` where ``type``
    is ``data`` or ``empty``, or ``{…, type: "error", message}``. Its failure is not the caller's: the caller looks at ``type``.
    """
    return pass_on([await _ended(config.definition, config.version, items)], config)


class Group(Options, frozen=True, kw_only=True):
    """``definitions``: the names of what is run, each with all the items and beside the others."""

    definitions: list[str]

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("group")
        if not 1 <= len(self.definitions) <= MEMBERS_MAX or not all(self.definitions):
            raise InvalidOption(option="group.definitions", found=repr(self.definitions)[:200], expected=f"1 to {MEMBERS_MAX} names")


async def perform_group(items: Items, *, config: Group) -> Items:
    """Run several definitions at once as children, and pass on when all have ended: what `run_definition` says of each, in their order. One
    that cannot start is an error among them, and does not keep the others.
    """
    return pass_on(list(await asyncio.gather(*(_ended(name, None, items) for name in config.definitions))), config)


async def _ended(definition: str, version: int | None, items: Items) -> Item:
    """The child is started, has ended, and this is how. Only a cancel of the caller comes out as an exception."""
    run: str | None = None
    try:
        started = child(definition, list(items), version=version, on_missing="fail")
        run = started.id
        value: Any = await started
    except Exception as error:
        written = str(error) if isinstance(error, PerdureError) else f"{type(error).__name__}: {error}"
        return {"definition": definition, "run": run, "type": "error", "message": written}
    if value is EMPTY:
        return {"definition": definition, "run": run, "type": "empty", "data": []}
    return {"definition": definition, "run": run, "type": "data", "data": msgspec.to_builtins(value)}


wait = configurable(Step("wait", perform_wait), Wait)
run_definition = configurable(Step("run_definition", perform_run_definition), RunDefinition)
group = configurable(Step("group", perform_group), Group)
