"""The cases of `crash_everywhere`: what goes wrong, and when."""

from collections.abc import Iterator
from random import Random

from msgspec import Struct

SLOW_TURNS = 25


class Case(Struct, frozen=True):
    """One way to disturb a run. ``size`` orders failures: how far the run gets before something happens.

    ``crash_before`` and ``crash_after``: numbers of commits. ``is_doubled``: outcomes, messages and signals come twice.
    ``is_cold``: the run is put down whenever it waits, and replayed from nothing after every commit. ``is_restarting``: the engine is
    restarted in good order whenever nothing moves. ``slow_turns``: turns of the event loop that a commit takes.
    """

    name: str
    size: int = 0
    crash_before: frozenset[int] = frozenset()
    crash_after: frozenset[int] = frozenset()
    is_doubled: bool = False
    is_cold: bool = False
    is_restarting: bool = False
    slow_turns: int = 0


UNDISTURBED = Case("undisturbed")


def cases(commits: int, *, limit: int, seed: int) -> list[Case]:
    """Give the cases for a run of so many commits: all of them, or a random choice of ``limit``."""
    whole = [
        Case("a cold replay at every transition", is_cold=True),
        Case("everything delivered twice", is_doubled=True),
        Case("slow commits", slow_turns=SLOW_TURNS),
        Case("a restart whenever nothing moves", is_restarting=True),
        # Not after every single one: an attempt that follows a commit would never come to its end.
        Case("a crash after every third commit", commits, crash_after=frozenset(range(3, 20 * commits + 20, 3))),
    ]
    single = list(_crashes(commits))
    if len(single) > limit:
        single = sorted(Random(seed).sample(single, limit), key=lambda case: case.size)
    return whole + single


def _crashes(commits: int) -> Iterator[Case]:
    for number in range(1, commits + 1):
        yield Case(f"a crash before commit {number} of {commits}", number, crash_before=frozenset({number}))
        yield Case(f"a crash after commit {number} of {commits}, before anybody learnt of it", number, crash_after=frozenset({number}))
        yield Case(
            f"a crash before commit {number} of {commits}, and everything delivered twice",
            number,
            crash_before=frozenset({number}),
            is_doubled=True,
        )
