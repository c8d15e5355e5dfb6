"""A worker is given as many calls beyond its slots as it soon gets to."""

from perdure.workers.reading_ahead import KNOWN, MOST, PATIENCE, ReadingAhead


def after(took_us: int, *, slots: int = 32, calls: int = 200) -> ReadingAhead:
    ahead = ReadingAhead(slots)
    for _ in range(calls):
        ahead.note_end(took_us)
    return ahead


def test_short_calls_are_read_ahead_as_far_as_a_tenth_of_a_second() -> None:
    assert after(100).room == MOST
    assert after(10_000).room == 512  # 320 in a tenth of a second, and the next power of two.


def test_of_calls_that_take_long_none_is_taken_beyond_the_slots() -> None:
    assert after(100_001).room == 0
    assert after(30_000_000).room == 0


def test_nothing_is_read_ahead_before_it_is_known_how_long_calls_take() -> None:
    assert after(100, calls=KNOWN - 1).room == 0


def test_room_grows_in_few_steps() -> None:
    ahead = after(60_000)
    assert ahead.room == 64
    assert sum(ahead.note_end(1) for _ in range(10_000)) <= 4


def test_a_few_rounds_of_longer_calls_leave_less_room() -> None:
    ahead = after(100)
    for _ in range(PATIENCE):
        assert ahead.room == MOST
        for _ in range(500):
            ahead.note_end(1_000_000)
        ahead.end_round(under_way=32)
    assert ahead.room == 0


def test_when_none_of_the_calls_under_way_ends_there_is_no_room_at_once() -> None:
    ahead = after(100)
    ahead.end_round(under_way=1)
    assert ahead.room == MOST
    ahead.end_round(under_way=1)
    assert ahead.room == 0


def test_an_idle_worker_keeps_its_room() -> None:
    ahead = after(100)
    for _ in range(10):
        ahead.end_round(under_way=0)
    assert ahead.room == MOST
