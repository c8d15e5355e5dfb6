"""How a node is: what a probe, an operator or a dashboard asks it."""

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from perdure.model.duration import instant

if TYPE_CHECKING:
    from perdure.engine.node import Node


class Health(Struct, frozen=True, kw_only=True):
    """How an engine is now.

    ``is_ready``: it moves runs, is not about to end, and its store answers; of a client: the store answers. ``node``: its name; ``epoch``,
    ``partitions`` (of ``partitions_total``), ``runs_live`` (in memory), ``attempts_running`` and ``commits`` are 0 where it is no node now.
    ``trouble``: why the store did not take the last commit, or did not answer, and since when.
    """

    node: str
    is_node: bool = False
    is_ready: bool = False
    is_draining: bool = False
    epoch: int = 0
    partitions: int = 0
    partitions_total: int = 1
    runs_live: int = 0
    attempts_running: int = 0
    commits: int = 0
    last_commit: datetime | None = None
    trouble: str | None = None
    trouble_since: datetime | None = None


def health_of(node: "Node", problem: str | None) -> Health:
    """Look at a node. ``problem``: why its store did not answer just now."""
    committer = node.committer
    is_draining = node.dispatcher.is_draining
    return Health(
        node=node.name,
        is_node=node.is_open,
        is_ready=node.is_open and not is_draining and problem is None and committer.trouble is None,
        is_draining=is_draining,
        epoch=node.epoch,
        partitions=len(node.share.mine),
        partitions_total=node.around.store.traits.partitions,
        runs_live=len(node.roster),
        attempts_running=node.dispatcher.running,
        commits=committer.commits,
        last_commit=_instant_or_none(committer.last_us),
        trouble=committer.trouble or problem,
        trouble_since=_instant_or_none(committer.trouble_us),
    )


def _instant_or_none(at_us: int | None) -> datetime | None:
    return None if at_us is None else instant(at_us)
