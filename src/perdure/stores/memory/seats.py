"""Who is there and who has which partition: the readable reference of `perdure.ports.store.Leases`."""

from collections.abc import Sequence

from perdure.model.errors import LeaseLost
from perdure.ports.store import NodeSeat, Survey


class Seats:
    """The live nodes by epoch, and the holder of each partition. With one partition there is one node at a time."""

    def __init__(self, partitions: int) -> None:
        self._last = 0
        self._nodes: dict[int, NodeSeat] = {}
        self._holders: list[int | None] = [None] * partitions

    def join(self, node: str, now_us: int, lease_us: int) -> int | None:
        if len(self._holders) == 1 and not self._gives_way(node, now_us):
            return None
        self._last += 1
        self._nodes[self._last] = NodeSeat(self._last, node, now_us + lease_us)
        return self._last

    def _gives_way(self, node: str, now_us: int) -> bool:
        """One node at a time: whoever sits there has the same name, or its lease has ended, or it stays."""
        for seat in list(self._nodes.values()):
            if seat.name != node and seat.until_us >= now_us:
                return False
            self.leave(seat.epoch)
        return True

    def renew(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        if epoch not in self._nodes:
            return None
        self._nodes[epoch] = NodeSeat(epoch, self._nodes[epoch].name, now_us + lease_us)
        return Survey([seat for seat in self._nodes.values() if seat.until_us >= now_us], list(self._holders))

    def survey(self) -> Survey:
        return Survey(list(self._nodes.values()), list(self._holders))

    def leave(self, epoch: int) -> None:
        """The epoch is no more; its partitions are free."""
        self._nodes.pop(epoch, None)
        self._holders = [None if holder == epoch else holder for holder in self._holders]

    def take(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        self.check(epoch)
        for holder in {self._holders[number] for number in wanted} - {None, epoch}:
            assert holder is not None
            if self._nodes[holder].until_us < now_us:
                self.leave(holder)
        for number in wanted:
            if self._holders[number] is None:
                self._holders[number] = epoch
        return [number for number in wanted if self._holders[number] == epoch]

    def give(self, epoch: int, given: Sequence[int]) -> None:
        for number in given:
            if self._holders[number] == epoch:
                self._holders[number] = None

    def check(self, epoch: int) -> None:
        """Raise `LeaseLost` unless the epoch is a node's that nobody has fenced."""
        if epoch not in self._nodes:
            raise LeaseLost(epoch=epoch, found=self._found())

    def _found(self) -> str:
        if not self._nodes:
            return "its lease was ended"
        return "; ".join(f"node {seat.name!r} is there with epoch {seat.epoch}" for seat in self._nodes.values())

    def clear(self) -> None:
        """Every node has died at once."""
        for epoch in list(self._nodes):
            self.leave(epoch)
