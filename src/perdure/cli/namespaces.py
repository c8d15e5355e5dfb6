"""``perdure ns``: namespaces, their limits and how long they keep ended runs."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter

from perdure import Engine
from perdure.app.stores import open_namespaces
from perdure.cli.connection import Place, run_loop
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.values import as_json
from perdure.control import check_unused, read_policy, write_policy
from perdure.model.policy import Policy
from perdure.ports.namespaces import Namespaces
from perdure.ports.system import SystemClock

T = TypeVar("T")

_PLACE = Place()
Limit = Annotated[
    tuple[str, ...], Parameter(name="--limit", negative="", help="A limit, such as calls_open_max=1000; none: calls_open_max=")
]
Kept = Annotated[str | None, Parameter(help="How long such runs are kept after their end, such as 30d; '' for as the engine says.")]
Force = Annotated[bool, Parameter(negative="", show_default=False, help="Also if it has runs, or is served.")]


def create(
    name: str, /, *, limit: Limit = (), completed: Kept = None, failed: Kept = None, cancelled: Kept = None, place: Place = _PLACE
) -> None:
    """Make a namespace: a schema on PostgreSQL, a file beside the main one on SQLite."""
    policy = _changed(Policy(), limit, {"completed": completed, "failed": failed, "cancelled": cancelled})
    policy.check()

    async def work(namespaces: Namespaces) -> None:
        await namespaces.create(name)
        async with Engine(place.url, namespace=name, is_client=True) as engine:
            await write_policy(engine.store, policy)

    _with(place, work)


def list_all(*, place: Place = _PLACE) -> None:
    """List the namespaces of a store."""
    for name in _with(place, lambda namespaces: namespaces.names()):
        print(name)


def show(name: str, /, *, place: Place = _PLACE) -> None:
    """Print a namespace's store, limits and retention as JSON."""

    async def work(namespaces: Namespaces) -> dict[str, Any]:
        async with Engine(place.url, namespace=name, is_client=True) as engine:
            return {"namespace": name, "store": engine.store.name, **msgspec.to_builtins(await read_policy(engine.store))}

    print(as_json(_with(place, work), indent=2))


def change(
    name: str, /, *, limit: Limit = (), completed: Kept = None, failed: Kept = None, cancelled: Kept = None, place: Place = _PLACE
) -> None:
    """Change what is named, and keep the rest. Live nodes take it up within the span of a lease."""

    async def work(namespaces: Namespaces) -> None:
        async with Engine(place.url, namespace=name, is_client=True) as engine:
            retention = {"completed": completed, "failed": failed, "cancelled": cancelled}
            await write_policy(engine.store, _changed(await read_policy(engine.store), limit, retention))

    _with(place, work)


def delete(name: str, /, *, force: Force = False, place: Place = _PLACE) -> None:
    """Delete a namespace with all that is in it. Refused if it has runs or a live node, unless --force."""

    async def work(namespaces: Namespaces) -> None:
        if not force:
            async with Engine(place.url, namespace=name, is_client=True) as engine:
                await check_unused(engine.store, SystemClock(), name)
        await namespaces.delete(name)

    _with(place, work)


def _with(place: Place, work: Callable[[Namespaces], Awaitable[T]]) -> T:
    namespaces = open_namespaces(place.url)
    return run_loop(lambda: work(namespaces))


def _changed(policy: Policy, limits: Sequence[str], retention: dict[str, str | None]) -> Policy:
    changed, kept = dict(policy.limits), dict(policy.retention)
    for text in limits:
        name, equals, value = text.partition("=")
        if not equals or not (value.isdigit() or not value):
            raise CommandEnds(Exit.USAGE, f"perdure ns: --limit: found {text!r}, expected NAME=NUMBER")
        changed[name] = int(value or 0)
        if not value:
            del changed[name]
    kept |= {name: span for name, span in retention.items() if span is not None}
    return Policy(changed, {name: span for name, span in kept.items() if span})
