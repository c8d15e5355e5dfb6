"""What workers over HTTP hold, as the registry is told."""

from perdure.api.work.holdings import FRESH_US, WORKERS_MAX, Holdings
from perdure.testing import VirtualClock


def test_an_attempt_that_its_worker_does_not_speak_of_is_not_kept_alive_by_its_other_ones() -> None:
    clock = VirtualClock()
    holdings = Holdings(clock)
    holdings.hear("w", "forgotten")
    for _ in range(3):
        clock.move_to(clock.now_us() + FRESH_US // 2 + 1)
        holdings.hear("w", "busy")
        beat = holdings.beat("w")
    assert [held.id for held in beat.attempts] == ["busy"]
    assert beat.is_whole


def test_only_attempts_that_the_worker_has_are_cancelled_at_it() -> None:
    holdings = Holdings(VirtualClock())
    holdings.hear("w", "a")
    holdings.cancel("w", "a")
    holdings.cancel("w", "b")
    assert holdings.cancelled("w") == ["a"]
    holdings.end("w", "a")
    assert holdings.cancelled("w") == []


def test_workers_that_were_not_heard_of_for_longest_are_forgotten_first() -> None:
    holdings = Holdings(VirtualClock())
    for number in range(WORKERS_MAX + 1):
        holdings.hear(f"w{number}", "a")
    assert holdings.beat("w0").attempts == []
    assert len(holdings.beat(f"w{WORKERS_MAX}").attempts) == 1
