"""Keeps what the host has hung into the interpreter out of deciders: the collector's finalizers, the event loop's async generators."""

import gc
import sys


class WithoutCollection:
    """Holds the garbage collector back for a bounded burst: it would walk through the thousands of young objects of a burst again and
    again, and find nothing, because they live until the next commit. Costs nothing in memory: the burst is bounded, and collection follows.
    """

    # A class, because a generator as context manager costs four times as much, and a lone step enters four times.
    __slots__ = ("_was_enabled",)

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            gc.enable()


class WithoutHooks:
    """Async generators that begin meanwhile are not the host's event loop's. Entered again inside, as each transition of a burst does, it
    does nothing: every change of the hooks is four audit events, and costs more than a microsecond.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = sys.get_asyncgen_hooks()
        if self._before != _NO_HOOKS:
            sys.set_asyncgen_hooks(None, None)

    def __exit__(self, *_: object) -> None:
        if self._before != _NO_HOOKS:
            sys.set_asyncgen_hooks(*self._before)


_NO_HOOKS = (None, None)
