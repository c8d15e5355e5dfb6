"""An attempt that somebody elsewhere performs, as the node that asked for it sees it."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from perdure.model.call import Attempt, Outcome
from perdure.model.payload import Content
from perdure.ports.clock import Alarm

Deliver = Callable[[Attempt, Outcome], None]
Tell = Callable[[Attempt, Content], None]


class Stage(Enum):
    """``WAITING``: in line here. ``SENT``: on its way, or in the hands of somebody who has not said so. ``HELD``: in a worker's beats."""

    WAITING = auto()
    SENT = auto()
    HELD = auto()


class Owner(Protocol):
    def give_up(self, performance: "RemotePerformance") -> None:
        """The attempt is cancelled, wherever it is."""
        ...

    def forget(self, performance: "RemotePerformance") -> None:
        """Nobody here waits for it any more."""
        ...


class RemotePerformance:
    """``since_us``: when it came to its stage, or was last heard of. ``is_over``: its outcome was delivered, or nobody here wants it."""

    __slots__ = ("alarms", "attempt", "deliver", "id", "is_over", "owner", "place", "since_us", "stage", "tell", "worker")

    is_keeping = False
    is_elsewhere = True

    def __init__(self, id: str, attempt: Attempt, owner: Owner, deliver: Deliver, tell: Tell) -> None:
        self.id = id
        self.attempt = attempt
        self.owner = owner
        self.deliver = deliver
        self.tell = tell
        self.stage = Stage.WAITING
        self.since_us = 0
        self.worker = ""
        self.place: tuple[str, str] | None = None
        self.alarms: list[Alarm] = []
        self.is_over = False

    def cancel(self) -> None:
        """Whoever performs it is told, if that can be."""
        self.owner.give_up(self)

    def let_go(self) -> None:
        """It goes on, for whoever has the run."""
        self.owner.forget(self)
