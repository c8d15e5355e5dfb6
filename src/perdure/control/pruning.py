"""Prunes a store from outside, once. Nodes with a `Retention` do it by themselves."""

from typing import Final

from perdure.model.duration import span_us
from perdure.model.retention import Retention
from perdure.model.run import Status
from perdure.ports.clock import Clock
from perdure.ports.store import Store

RUNS_TOGETHER: Final = 500


async def prune(store: Store, clock: Clock, retention: Retention) -> dict[Status, int]:
    """What has been kept long enough is gone; gives the number of runs by status. In small batches, beside live nodes."""
    retention.checked()
    now_us, every, pruned = clock.now_us(), range(store.traits.partitions), {}
    for outdated in retention.outdated(now_us):
        pruned[outdated.status] = 0
        while count := await store.prune_runs(outdated, every, limit=RUNS_TOGETHER):
            pruned[outdated.status] += count
    await store.prune_replies(now_us - span_us(retention.replies))
    return pruned


async def count_outdated(store: Store, clock: Clock, retention: Retention) -> dict[Status, int]:
    """Give the number of runs, by status, that `prune` would delete now."""
    return {outdated.status: await store.count_outdated(outdated) for outdated in retention.outdated(clock.now_us())}
