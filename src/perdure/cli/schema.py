"""``perdure schema``: the tables of a store."""

from perdure import Engine
from perdure.cli.connection import Place, ask, run_loop

_PLACE = Place()


def apply(*, place: Place = _PLACE) -> None:
    """Make the tables, or bring them up to date; nodes of the version before may run meanwhile."""

    async def work() -> int:
        async with Engine(place.url, namespace=place.namespace, is_client=True) as engine:
            return await engine.store.schema_version()

    print(f"The schema has version {run_loop(work)}.")


def show(*, place: Place = _PLACE) -> None:
    """Tell the version of the tables. (Opening a store brings them up to date, unless its user may not.)"""
    print(f"The schema has version {ask(place, lambda engine: engine.store.schema_version())}.")
