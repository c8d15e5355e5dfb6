"""The partitions that a node has, and which it should have. Protects from runs that nobody or two nodes look after (G1, G9)."""

from collections.abc import Collection
from zlib import crc32

from msgspec import Struct

from perdure.model.ids import RunId
from perdure.ports.store import Survey


class Share:
    """``mine``: the runs in these are this node's. ``leaving``: it finishes what is under way in these and begins nothing new."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.mine: frozenset[int] = frozenset()
        self.leaving: set[int] = set()
        self._choice: list[int] = []

    def take(self, numbers: Collection[int]) -> None:
        self._set(self.mine | frozenset(numbers))

    def begin_leaving(self, numbers: Collection[int]) -> None:
        self.leaving |= self.mine & frozenset(numbers)
        self._set(self.mine - frozenset(numbers))

    def leave(self, numbers: Collection[int]) -> None:
        """They are another's now, or nobody's."""
        self.leaving -= frozenset(numbers)
        self._set(self.mine - frozenset(numbers))

    def _set(self, numbers: frozenset[int]) -> None:
        self.mine = numbers
        self._choice = sorted(numbers)

    @property
    def is_whole(self) -> bool:
        """Tell whether no other node can have a run of this store."""
        return len(self.mine) == self._count

    @property
    def held(self) -> frozenset[int]:
        """All that no other node may have, the leaving ones too."""
        return self.mine | self.leaving

    def pick(self, run: RunId) -> int | None:
        """Give the partition for a new run; ``None`` if this node has none."""
        return slice_of(run, self._choice) if self._choice else None


def slice_of(run: str, numbers: list[int]) -> int:
    """Give one of the numbers, always the same for the same run."""
    return numbers[0] if len(numbers) == 1 else numbers[crc32(run.encode("utf-8", "surrogatepass")) % len(numbers)]


class Plan(Struct, frozen=True):
    """What a node should do about its share: ask for ``take``, hand over ``give``."""

    take: list[int]
    give: list[int]


def plan(survey: Survey, epoch: int) -> Plan:
    """Even shares, the nodes that came first one more if they do not divide. All nodes that see the same come to the same shares."""
    epochs = sorted(seat.epoch for seat in survey.nodes)
    if epoch not in epochs:
        return Plan([], [])
    count, rank = len(survey.holders), epochs.index(epoch)
    wanted = count // len(epochs) + (rank < count % len(epochs))
    mine = [number for number, holder in enumerate(survey.holders) if holder == epoch]
    if len(mine) > wanted:
        return Plan([], mine[wanted:])
    free = [number for number, holder in enumerate(survey.holders) if holder not in epochs]
    # Each begins at a place of its own, so that two who ask at once do not ask for the same.
    begin = rank * len(free) // len(epochs)
    return Plan((free[begin:] + free[:begin])[: wanted - len(mine)], [])
