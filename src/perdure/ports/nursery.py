"""Paces Python's garbage collector. Protects steps and calls from its walks through thousands of objects that live as long as those."""

import gc

YOUNG_MIN = 20_000
"""A round of a thousand runs makes and drops some thousands of objects; what then sets the collector off is the growth by runs begun."""

OLDER_MAX = 2
"""So many collections of a generation come before one of the next, instead of Python's ten: what runs that were put down leave would
else lie in the older generations for longer by as much as the young one has more room, and sleepers would double the memory.
"""


class Nursery:
    """While it is open the collector's young generation has room for the rounds of a node or worker: Python's own 700 are passed several
    times in each, and every collection then walks through objects that the next commit will drop anyhow. An application that has made more
    room, or has turned the collector off, is left alone.
    """

    def __init__(self) -> None:
        self._before: tuple[int, int, int] | None = None

    def open(self) -> None:
        young, middle, old = gc.get_threshold()
        if 0 < young < YOUNG_MIN:
            self._before = young, middle, old
            gc.set_threshold(YOUNG_MIN, min(middle, OLDER_MAX), min(old, OLDER_MAX))

    def close(self) -> None:
        """The collector is as it was, unless somebody else has set it meanwhile. Of several in a process the first opened decides."""
        if self._before is not None and gc.get_threshold()[0] == YOUNG_MIN:
            gc.set_threshold(*self._before)
        self._before = None
