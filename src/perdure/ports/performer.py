"""The performer: does the work of actions, or has it done."""

from collections.abc import Callable
from typing import Protocol

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.payload import Content
from perdure.ports.store import Batch


class Performance(Protocol):
    """One attempt that is under way."""

    @property
    def is_keeping(self) -> bool:
        """Tell whether its outcome is being made durable together with its effect: it cannot be stopped any more, and will end soon."""
        ...

    @property
    def is_elsewhere(self) -> bool:
        """Tell whether it goes on when this process ends: its outcome finds the run wherever that is."""
        ...

    def cancel(self) -> None:
        """The action is asked to stop: an async one by cancellation, a threaded one by its attempt's ``is_cancelled``."""
        ...

    def let_go(self) -> None:
        """Nobody here wants to hear of it any more; one that is elsewhere goes on for whoever has the run."""
        ...


class PlainPerformer(Protocol):
    """Begins attempts whose action is known to be performed here."""

    def perform(
        self, attempt: Attempt, deliver: Callable[[Attempt, Outcome], None], beat: Callable[[Attempt, Content], None]
    ) -> Performance:
        """As `Performer.perform`."""
        ...


class Performer(Protocol):
    @property
    def here(self) -> PlainPerformer | None:
        """What performs plain actions of this process, with no queue and no limit, without being asked for each whether it does; ``None``
        if it must be asked.
        """
        ...

    def takes(self, spec: ActionSpec) -> bool:
        """Tell whether an attempt of this action can be handed over now."""
        ...

    def is_elsewhere(self, spec: ActionSpec) -> bool:
        """Tell whether attempts of this action go on when this process ends."""
        ...

    def perform(
        self, attempt: Attempt, deliver: Callable[[Attempt, Outcome], None], beat: Callable[[Attempt, Content], None]
    ) -> Performance:
        """The attempt has begun; ``deliver`` is called exactly once, in the event loop, when it has ended, however it ended.

        ``beat`` is called in the event loop whenever the action reports details. Never raises.
        """
        ...

    def listen(self, heard: Callable[[], None]) -> None:
        """``heard`` is called whenever actions are taken that were not before."""
        ...

    def keep_with(self, keep: Callable[[Attempt, Outcome], Batch]) -> None:
        """``keep`` gives the batch by which an attempt that shares a transaction with its outcome makes that outcome known to its run."""
        ...

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        """Give the outcome that a worker elsewhere told of an attempt, as it counts: a result that is not what the worker announced is a
        failure.
        """
        ...

    async def close(self) -> None:
        """Nothing runs any more; what still ran was cancelled."""
        ...
