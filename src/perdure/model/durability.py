"""How safe a run's facts are before anything that depends on them leaves the node (G2)."""

from enum import StrEnum


class Durability(StrEnum):
    """The class of a run. Each names what a fact survives: the end of the node, of the database's machine, of its disk."""

    MEMORY = "memory"
    MEMORY_REPLICA = "memory+replica"
    DISK = "disk"
    DISK_REPLICA = "disk+replica"

    @property
    def rank(self) -> int:
        """The order of strength: a commit for runs of several classes is made for the strongest of them."""
        return _RANKS[self]


_RANKS = {durability: rank for rank, durability in enumerate(Durability)}


def strongest(first: Durability | None, second: Durability | None) -> Durability | None:
    """Give the class that a commit for runs of both needs; ``None`` is no wish."""
    if first is None or second is None:
        return first or second
    return first if first.rank > second.rank else second
