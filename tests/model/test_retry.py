"""When a failed attempt is tried again, to the microsecond."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perdure import Retry
from perdure.model.duration import instant_us
from perdure.model.errors import InvalidOption
from perdure.model.failure import error_types
from perdure.model.retry import NO_RETRY, type_name

SECOND = 1_000_000


def delays(retry: Retry, count: int, seed: int = 0) -> list[float]:
    random = Random(seed)
    return [retry.delay_us(attempt, random) / SECOND for attempt in range(1, count + 1)]


@pytest.mark.covers("I17")
def test_delays_grow_by_the_factor_and_are_not_cut_to_whole_seconds() -> None:
    assert delays(Retry(first="3s", factor=1.2, cap=None), 5) == [3, 3.6, 4.32, 5.184, 6.2208]
    assert delays(Retry(first="200ms", factor=2, cap="30s"), 9) == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30]
    assert delays(Retry(first="1us", factor=1.2, cap=None), 3) == [1e-6, 1e-6, 1e-6]
    assert delays(Retry(), 3) == [1, 2, 4]


@pytest.mark.covers("I17")
@given(some.integers(1, 10**9))
def test_the_cap_bounds_a_delay_and_never_ends_the_retries(attempt: int) -> None:
    retry = Retry(first="3s", factor=1.2, cap="10s")
    assert retry.delay_us(attempt, Random(0)) <= 10 * SECOND
    assert retry.attempts is None
    assert retry.end_us(0) is None
    assert Retry(first="1s", factor=2, cap=None).delay_us(attempt, Random(0)) >= SECOND


@given(some.floats(1, 5), some.integers(0, 10**8), some.integers(0, 10**9), some.integers(1, 200))
def test_delays_never_shrink(factor: float, first: int, cap: int, attempt: int) -> None:
    retry = Retry(first=timedelta(microseconds=first), factor=factor, cap=timedelta(microseconds=cap))
    assert retry.delay_us(attempt, Random(0)) <= retry.delay_us(attempt + 1, Random(0))


@pytest.mark.covers("I17")
@given(some.floats(0, 1), some.integers(1, 20), some.integers())
def test_jitter_stays_within_its_share_and_is_the_same_for_the_same_chance(jitter: float, attempt: int, seed: int) -> None:
    plain = Retry(first="1s", cap="1m").delay_us(attempt, Random(0))
    retry = Retry(first="1s", cap="1m", jitter=jitter)
    found = retry.delay_us(attempt, Random(seed))
    assert plain * (1 - jitter) - 1 <= found <= plain * (1 + jitter) + 1
    assert found == retry.delay_us(attempt, Random(seed))


def test_jitter_spreads_both_ways() -> None:
    found = delays(Retry(first="1s", factor=1, jitter=0.2), 200)
    assert min(found) < 0.82
    assert max(found) > 1.18


def test_a_list_of_delays_is_taken_as_it_is_and_its_last_repeats() -> None:
    assert delays(Retry(delays=["1s", 0.5, timedelta(minutes=1)], cap="2s"), 5) == [1, 0.5, 60, 60, 60]


def test_retries_end_at_the_earlier_of_total_time_and_deadline() -> None:
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    start = instant_us(at)
    assert Retry(total="90s").end_us(start) == start + 90 * SECOND
    assert Retry(deadline=at + timedelta(seconds=30)).end_us(start) == start + 30 * SECOND
    assert Retry(total="90s", deadline=at + timedelta(seconds=30)).end_us(start) == start + 30 * SECOND
    assert Retry(total="9s", deadline=at + timedelta(seconds=30)).end_us(start) == start + 9 * SECOND
    assert Retry(attempts=3).end_us(start) is None


class Declined(LookupError):
    pass


class DeclinedForGood(Declined):
    pass


@pytest.mark.covers("I17")
@pytest.mark.parametrize("named", [Declined, type_name(Declined), "Declined"], ids=["class", "full name", "short name"])
def test_what_is_never_tried_again_is_known_by_class_name_and_base(named: Any) -> None:
    retry = Retry(attempts=5, never=[named])
    assert retry.policy_for(error_types(Declined())) is None
    assert retry.policy_for(error_types(DeclinedForGood())) is None
    assert retry.policy_for(error_types(LookupError())) is retry
    assert retry.policy_for(()) is retry


def test_the_most_specific_class_decides() -> None:
    patient = Retry(delays=["1h"])
    retry = Retry(overrides={Declined: patient}, never=[LookupError, DeclinedForGood])
    assert retry.policy_for(error_types(Declined())) is patient
    assert retry.policy_for(error_types(DeclinedForGood())) is None
    assert retry.policy_for(error_types(KeyError())) is None
    assert retry.policy_for(error_types(ValueError())) is retry
    assert Retry(overrides={"ValueError": NO_RETRY}).policy_for(error_types(UnicodeError())) is NO_RETRY


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attempts": 0}, "attempts"),
        ({"factor": 0.9}, "factor"),
        ({"jitter": 1.1}, "jitter"),
        ({"delays": []}, "at least one delay"),
        ({"first": "soon"}, "span of time"),
        ({"cap": float("nan")}, "span of time"),
        ({"delays": ["1s", "x"]}, "span of time"),
        ({"deadline": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001
    ],
)
def test_a_policy_that_cannot_work_is_refused_when_it_is_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        Retry(**options)
