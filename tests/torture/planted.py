"""Faults that are planted to see whether the torture finds them."""

from perdure.stores.postgres.store import PostgresStore


def plant(fault: str, store: PostgresStore) -> None:
    """The fault of this name is in the node; an empty name is none."""
    if fault:
        raise ValueError(fault)
