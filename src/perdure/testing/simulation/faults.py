"""What goes wrong in a simulated world, and when: a list that a seed gives, and of which each entry can be left out."""

from enum import StrEnum
from random import Random

from msgspec import Struct

SECOND_US = 1_000_000


class Kind(StrEnum):
    """A fault of a node, of its way to the store, or of what it hears from there."""

    CRASH = "crash"
    CLOSE = "close"
    PAUSE = "pause"
    CRASH_BEFORE = "crash before a store call"
    CRASH_AFTER = "crash after a store call"
    CRASH_BEFORE_COMMIT = "crash before a commit"
    CRASH_AFTER_COMMIT = "crash after a commit"
    FAIL_BEFORE = "store unavailable before the effect"
    FAIL_AFTER = "store unavailable after the effect"
    SLOW_BEFORE = "slow before the effect"
    SLOW_AFTER = "slow after the effect"
    HINTS_LOST = "hints lost"
    HINTS_DOUBLED = "hints doubled"
    HINTS_LATE = "hints late"
    INBOX_TWICE = "inbox read twice"


KINDS = tuple(Kind)
OF_NODES = frozenset({Kind.CRASH, Kind.CLOSE, Kind.PAUSE})
OF_CALLS = frozenset(
    {
        Kind.CRASH_BEFORE,
        Kind.CRASH_AFTER,
        Kind.CRASH_BEFORE_COMMIT,
        Kind.CRASH_AFTER_COMMIT,
        Kind.FAIL_BEFORE,
        Kind.FAIL_AFTER,
        Kind.SLOW_BEFORE,
        Kind.SLOW_AFTER,
    }
)
OF_COMMITS = frozenset({Kind.CRASH_BEFORE_COMMIT, Kind.CRASH_AFTER_COMMIT})


class Fault(Struct, frozen=True):
    """It begins ``at_us`` after the world did, at the node in ``slot``.

    ``skip``: store calls that pass unharmed first; ``count``: store calls that it hits. ``span_us``: how long a pause, a delay or trouble
    with hints lasts; for a node that went, how long until another life begins.
    """

    kind: Kind
    at_us: int
    slot: int
    span_us: int
    skip: int = 0
    count: int = 1

    def __str__(self) -> str:
        text = f"{self.at_us / SECOND_US:7.3f} s  node {self.slot}  {self.kind}, {self.span_us / SECOND_US:.3f} s"
        return text + (f", {self.count} calls after {self.skip}" if self.kind in OF_CALLS else "")


def draw_faults(chance: Random, *, slots: int, until_us: int, lease_us: int) -> list[Fault]:
    """Give the faults of a world, in order of time."""
    found = [_draw(chance, slots, until_us, lease_us) for _ in range(chance.choice((0, 1, 2, 3, 4, 6, 9, 14)))]
    return sorted(found, key=lambda fault: fault.at_us)


def _draw(chance: Random, slots: int, until_us: int, lease_us: int) -> Fault:
    kind = chance.choice(KINDS)
    at_us, slot = chance.randrange(until_us), chance.randrange(slots)
    if kind is Kind.PAUSE:
        # Mostly longer than the lease: whoever wakes up then has been replaced.
        return Fault(kind, at_us, slot, round(lease_us * chance.uniform(0.5, 2.5)))
    if kind in (Kind.SLOW_BEFORE, Kind.SLOW_AFTER):
        span_us = round(chance.choice((0.02, 0.3, 3.0)) * chance.uniform(0.5, 1.5) * SECOND_US)
        return Fault(kind, at_us, slot, span_us, chance.randrange(12), chance.randrange(1, 6))
    if kind in OF_CALLS:
        return Fault(kind, at_us, slot, chance.randrange(1, 2 * lease_us), chance.randrange(12), chance.randrange(1, 6))
    return Fault(kind, at_us, slot, chance.randrange(1, 2 * lease_us))
