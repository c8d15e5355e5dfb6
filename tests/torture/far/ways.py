"""How node and workers of such a storm reach each other: the store, the broker, and the faults that can strike there."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

Kind = Literal[
    "kill worker",
    "pause worker",
    "kill node",
    "pause node",
    "cut",
    "away",
    "partition",
    "kill broker",
    "wipe broker",
    "kill database",
    "kill api",
]
Name = Literal["sqlite", "postgres", "amqp", "nats", "http"]

_PROCESSES: tuple[Kind, ...] = ("kill worker", "pause worker", "kill node")


class Way(Struct, frozen=True):
    """``nodes``: how many there are. ``has_network``: workers and nodes reach the server through proxies. ``kinds``: what can strike."""

    name: Name
    store: Literal["sqlite", "postgres"]
    kinds: tuple[Kind, ...]
    nodes: int = 1
    has_network: bool = False


WAYS: Mapping[Name, Way] = {
    way.name: way
    for way in (
        Way("sqlite", "sqlite", _PROCESSES),
        Way("postgres", "postgres", (*_PROCESSES, "pause node", "kill database", "cut", "partition", "away"), nodes=2, has_network=True),
        Way(
            "amqp",
            "postgres",
            (*_PROCESSES, "pause node", "kill broker", "wipe broker", "cut", "partition", "away"),
            nodes=2,
            has_network=True,
        ),
        Way("nats", "sqlite", (*_PROCESSES, "kill broker", "wipe broker", "partition", "cut"), has_network=True),
        Way("http", "sqlite", (*_PROCESSES, "kill api")),
    )
}


class Fault(Struct, frozen=True):
    """``at_s``: after the beginning. ``who``: the number of the member that it strikes. ``span_s``: how long it lasts."""

    at_s: float
    kind: Kind
    who: int
    span_s: float

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s  {self.kind} {self.who}, {self.span_s:.1f} s"


def names(found: Sequence[Fault]) -> set[Kind]:
    """Give the kinds of these faults."""
    return {fault.kind for fault in found}
