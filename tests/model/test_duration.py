"""Spans and instants: what users write, in whole microseconds."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perdure.model.duration import instant, instant_us, span_text, span_us
from perdure.model.errors import InvalidOption


@pytest.mark.parametrize(
    ("span", "us"),
    [
        ("200ms", 200_000),
        ("1h 30m", 5_400_000_000),
        ("1h30m", 5_400_000_000),
        (" 2 d ", 172_800_000_000),
        ("0.5s", 500_000),
        ("7us", 7),
        ("1w", 604_800_000_000),
        (1, 1_000_000),
        (0.25, 250_000),
        (1.2e-6, 1),
        (timedelta(days=1, microseconds=1), 86_400_000_001),
        (-1, 0),
        (timedelta(seconds=-1), 0),
    ],
)
def test_a_span_is_whole_microseconds(span: str | float | timedelta, us: int) -> None:
    assert span_us(span) == us


@pytest.mark.parametrize(
    "span", ["", "  ", "5", "s", "1 fortnight", "1h and a bit", "-1s", "1e3s", float("nan"), float("inf"), float("-inf")]
)
def test_what_is_no_span_is_refused(span: str | float) -> None:
    with pytest.raises(InvalidOption, match="span of time"):
        span_us(span)


@given(some.integers(0, 10**12), some.sampled_from([("us", 1), ("ms", 1_000), ("s", 10**6), ("m", 60 * 10**6), ("h", 3_600 * 10**6)]))
def test_a_whole_number_of_any_unit_is_exact(number: int, unit: tuple[str, int]) -> None:
    # Text goes through a float: exact as far as a float counts microseconds, some 285 years.
    if number * unit[1] < 2**53:
        assert span_us(f"{number}{unit[0]}") == number * unit[1]


@given(some.timedeltas(timedelta(0), timedelta(days=300_000)))
def test_a_timedelta_is_exact(span: timedelta) -> None:
    assert timedelta(microseconds=span_us(span)) == span


@given(some.datetimes(timezones=some.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))])))
def test_an_instant_comes_back_in_utc(at: datetime) -> None:
    found = instant(instant_us(at))
    assert found == at
    assert found.tzinfo is UTC


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidOption, match="time zone"):
        instant_us(datetime(2026, 11, 21))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0us"),
        (850, "850us"),
        (12_500, "12.5ms"),
        (3_200_000, "3.20s"),
        (60_000_000, "1m"),
        (61_000_000, "1m 1s"),
        (7_500_000_000, "2h 5m"),
        (90_000_000_000, "1d 1h"),
    ],
)
def test_a_span_is_written_in_its_largest_units(us: int, text: str) -> None:
    assert span_text(us) == text
