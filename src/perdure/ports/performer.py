"""The performer: does the work of actions that live in this process."""

from collections.abc import Callable
from typing import Protocol

from perdure.model.call import Attempt, Outcome
from perdure.model.payload import Content
from perdure.ports.store import Batch


class Performance(Protocol):
    """One attempt that is under way."""

    @property
    def is_keeping(self) -> bool:
        """Tell whether its outcome is being made durable together with its effect: it cannot be stopped any more, and will end soon."""
        ...

    def cancel(self) -> None:
        """The action is asked to stop: an async one by cancellation, a threaded one by its attempt's ``is_cancelled``."""
        ...


class Performer(Protocol):
    def perform(
        self, attempt: Attempt, deliver: Callable[[Attempt, Outcome], None], beat: Callable[[Attempt, Content], None]
    ) -> Performance:
        """The attempt has begun; ``deliver`` is called exactly once, in the event loop, when it has ended, however it ended.

        ``beat`` is called in the event loop whenever the action reports details. Never raises.
        """
        ...

    def keep_with(self, keep: Callable[[Attempt, Outcome], Batch]) -> None:
        """``keep`` gives the batch by which an attempt that shares a transaction with its outcome makes that outcome known to its run."""
        ...

    async def close(self) -> None:
        """Nothing runs any more; what still ran was cancelled."""
        ...
