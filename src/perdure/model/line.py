"""Calls that wait to be sent. Protects one user's work from another's thousands: among equals, each key has its turn."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class FairLine(Generic[T]):
    """Higher ``priority`` first; within one, the keys in turn; within a key, in the order in which they came."""

    def __init__(self) -> None:
        self._classes: dict[int, OrderedDict[str, OrderedDict[str, T]]] = {}
        self._places: dict[str, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def put(self, id: str, entry: T, *, priority: int = 0, key: str = "") -> None:
        """The entry waits; one of that id that waits already stays as it is."""
        if id not in self._places:
            self._places[id] = (priority, key)
            self._classes.setdefault(priority, OrderedDict()).setdefault(key, OrderedDict())[id] = entry

    def remove(self, id: str) -> T | None:
        """The entry waits no more; gives it, ``None`` if it did not wait."""
        place = self._places.pop(id, None)
        return None if place is None else self._take(*place, id)

    def pop(self) -> T:
        """Take the one whose turn it is. Raises ``IndexError`` if none waits."""
        if not self._places:
            raise IndexError("nobody waits in this line")
        waiting = next(iter(self._classes[max(self._classes)].values()))
        return self.take(next(iter(waiting)))

    def heads(self) -> list[tuple[str, str]]:
        """Give the first of each key as id and key, in the order of their turns."""
        return [
            (next(iter(waiting)), key)
            for priority in sorted(self._classes, reverse=True)
            for key, waiting in self._classes[priority].items()
        ]

    def take(self, id: str) -> T:
        """Take this one, and its key's turn with it. Raises ``KeyError`` if it does not wait."""
        priority, key = self._places.pop(id)
        entry = self._take(priority, key, id)
        if key in self._classes.get(priority, ()):
            self._classes[priority].move_to_end(key)
        return entry

    def _take(self, priority: int, key: str, id: str) -> T:
        keys = self._classes[priority]
        entry = keys[key].pop(id)
        if not keys[key]:
            del keys[key]
        if not keys:
            del self._classes[priority]
        return entry
