"""How an engine is, as far as it and its store can tell."""

import asyncio
from typing import Final

from perdure.engine.health import Health, health_of
from perdure.engine.node import Node
from perdure.model.errors import PerdureError
from perdure.model.ids import RunId
from perdure.ports.store import Store

ANSWER_S: Final = 2.0


async def check_up(store: Store, node: Node | None, *, name: str, is_client: bool, is_open: bool) -> Health:
    """Look at the node, if there is one, and ask the store whether it answers. ``is_client``: it never moves runs."""
    problem = None
    try:
        async with asyncio.timeout(ANSWER_S):
            await store.row(RunId(""))
    except (PerdureError, TimeoutError) as error:
        problem = str(error) or f"The store {store.name} did not answer within {ANSWER_S:g} s."
    if node is not None:
        return health_of(node, problem)
    is_ready = is_client and is_open and problem is None
    return Health(node=name, is_ready=is_ready, is_draining=not is_open, partitions_total=store.traits.partitions, trouble=problem)
