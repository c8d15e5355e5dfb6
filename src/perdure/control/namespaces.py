"""Namespaces and their policies: created, changed and deleted while others run."""

from perdure.model.errors import NamespaceNotEmpty, NodeIsLive
from perdure.model.policy import SETTING, Policy, decode_policy, encode_policy
from perdure.ports.clock import Clock
from perdure.ports.store import RunQuery, Store


async def read_policy(store: Store) -> Policy:
    """Give the policy of a store; an empty one if it has none."""
    return decode_policy(await store.setting(SETTING))


async def write_policy(store: Store, policy: Policy) -> None:
    """The store has this policy; its live nodes take it up within the span of a lease. Raises `InvalidOption`."""
    policy.check()
    await store.set_setting(SETTING, encode_policy(policy).decode())


async def check_unused(store: Store, clock: Clock, name: str) -> None:
    """Raise `NamespaceNotEmpty` if the namespace has runs, `NodeIsLive` if it is served."""
    survey = await store.survey()
    now_us = clock.now_us() if survey.now_us is None else survey.now_us
    live = [seat.name for seat in survey.nodes if seat.until_us >= now_us]
    if live:
        raise NodeIsLive(store=store.name, nodes=", ".join(live), asked="the deletion")
    if await store.find(RunQuery(limit=1)):
        raise NamespaceNotEmpty(namespace=name)
