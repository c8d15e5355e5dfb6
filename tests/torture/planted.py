"""Faults that are planted to see whether a storm brings them to light."""

import asyncio
from typing import Any

from perdure.engine import node as engine_node
from perdure.engine.sharing.tenure import Tenure
from perdure.ports.store import Batch
from perdure.workers.executors import LocalPerformer
from tests.torture.cluster import Cluster

FENCE = "for key share;\n        if not found then", "for key share;\n        if false then"
JOURNAL_ROWS = (
    "where not r.run = any (taken);\n    end if;\n\n    if beat_run",
    "where not r.run = any (taken) on conflict do nothing;\n    end if;\n\n    if beat_run",
)

FAULTS = ("no fence", "loose outcome", "slow renewal")
RENEWAL_S = 1.0


def plant_in_database(fault: str, cluster: Cluster) -> None:
    """``no fence``: a commit asks neither for its node's row nor whether a journal has its rows already."""
    if fault == "no fence":
        _edit(cluster, "commit_1", (FENCE, JOURNAL_ROWS))


def _edit(cluster: Cluster, function: str, changes: tuple[tuple[str, str], ...]) -> None:
    text = cluster.primary.sql(f"select pg_get_functiondef('perdure.{function}'::regproc)")
    for old, new in changes:
        assert text.count(old) == 1, f"{function} has changed, and the fault cannot be planted: {old!r}"
        text = text.replace(old, new)
    cluster.primary.sql(text)


def plant_in_node(fault: str) -> None:
    """``slow renewal``, and part of all: a node that was fenced is a second late to hear of it; until then only the fence is between it and
    the runs.

    ``loose outcome``: so it is, and its transactional actions go on after it heard, and their outcomes go down unfenced.
    """
    if fault and fault not in FAULTS:
        raise ValueError(f"no fault is called {fault!r}; there are {', '.join(FAULTS)}")
    if fault:
        renew = Tenure.renew

        async def slowly(tenure: Tenure) -> None:
            await asyncio.sleep(RENEWAL_S)
            await renew(tenure)

        Tenure.renew = slowly  # type: ignore[method-assign]
    if fault == "loose outcome":
        kept = engine_node.kept_outcome

        def loose(*arguments: Any, **options: Any) -> Batch:
            batch = kept(*arguments, **options)
            batch.epoch = None
            return batch

        async def stay(performer: LocalPerformer) -> None:
            """The attempts under way go on."""

        engine_node.kept_outcome = loose
        LocalPerformer.close = stay  # type: ignore[method-assign]
