"""Paces Python's garbage collector. Protects steps and calls from its walks through thousands of objects that live as long as those."""

import gc

YOUNG_MIN = 20_000
"""A round of a thousand runs makes and drops some thousands of objects; what then sets the collector off is the growth by runs begun."""


class Nursery:
    """While it is open the collector's young generation has room for the rounds of a node or worker: Python's own 700 are passed several
    times in each, and every collection then walks through objects that the next commit will drop anyhow. An application that has made more
    room, or has turned the collector off, is left alone.
    """

    def __init__(self) -> None:
        self._young_before = 0

    def open(self) -> None:
        young, *older = gc.get_threshold()
        if 0 < young < YOUNG_MIN:
            self._young_before = young
            gc.set_threshold(YOUNG_MIN, *older)

    def close(self) -> None:
        """The collector is as it was, unless somebody else has set it meanwhile. Of several in a process the first opened decides."""
        young, *older = gc.get_threshold()
        if self._young_before and young == YOUNG_MIN:
            gc.set_threshold(self._young_before, *older)
        self._young_before = 0
