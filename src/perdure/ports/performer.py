"""The performer: does the work of actions that live in this process."""

from collections.abc import Callable
from typing import Protocol

from perdure.model.call import Attempt, Outcome
from perdure.model.payload import Content


class Performance(Protocol):
    """One attempt that is under way."""

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

    async def close(self) -> None:
        """Nothing runs any more; what still ran was cancelled."""
        ...
