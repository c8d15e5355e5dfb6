"""A pace is what came in the last span, by any clock."""

from perdure.model.pace import Pace


def test_what_came_in_the_last_whole_span_counts_until_the_present_one_has_more() -> None:
    pace = Pace(100)
    for _ in range(3):
        pace.note(50)
    assert [pace.lately(now_us) for now_us in (99, 100, 199)] == [3, 3, 3]
    for _ in range(5):
        pace.note(199)
    assert pace.lately(199) == 5


def test_after_a_span_without_any_it_is_none() -> None:
    pace = Pace(100)
    pace.note(50)
    assert pace.lately(200) == 0


def test_a_clock_that_jumps_back_begins_anew() -> None:
    pace = Pace(100)
    pace.note(500)
    assert pace.lately(50) == 0
