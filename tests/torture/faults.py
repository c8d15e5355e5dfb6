"""The script of a storm: which fault comes when. The same seed and length give the same script."""

from collections.abc import Sequence
from random import Random
from typing import Literal

from msgspec import Struct

Kind = Literal["kill", "pause", "drain", "jump", "terminate", "restart", "crash", "absence", "fail over"]

OF_NODES: Sequence[Kind] = ("kill", "pause", "drain", "jump")
OF_DATABASE: Sequence[Kind] = ("terminate", "restart", "crash", "absence")


class Fault(Struct, frozen=True):
    """``at_s``: after the beginning. ``node``: whom it strikes. ``span_s``: how long it lasts, for those that end."""

    at_s: float
    kind: Kind
    node: int
    span_s: float

    def __str__(self) -> str:
        struck = f" of node {self.node}" if self.kind in OF_NODES else ""
        return f"{self.at_s:6.1f} s  {self.kind}{struck}, {self.span_s:.1f} s"


def write_script(random: Random, seconds: float, kinds: Sequence[Kind], *, nodes: int, lease_s: float) -> list[Fault]:
    """Give the faults of a storm in order. All kinds come up before one comes again; one may strike while another lasts."""
    script: list[Fault] = []
    deck: list[Kind] = []
    at_s = 2.0
    while at_s < seconds:
        if not deck:
            deck = random.sample(list(kinds), len(kinds))
        kind = deck.pop()
        script.append(Fault(round(at_s, 2), kind, random.randrange(nodes), round(_span_s(random, kind, lease_s), 2)))
        at_s += random.uniform(1.5, 2.5 * lease_s)
    return script


def _span_s(random: Random, kind: Kind, lease_s: float) -> float:
    match kind:
        case "pause":
            # Past the lease for most: the others have its runs when it wakes.
            return random.uniform(0.5, 3) * lease_s
        case "kill" | "drain":
            return random.uniform(0, 1.5) * lease_s
        case "jump":
            return random.uniform(1, 3) * lease_s
        case "absence":
            return random.uniform(0.5, 2) * lease_s
        case "restart" | "crash" | "terminate" | "fail over":
            return 0.0
