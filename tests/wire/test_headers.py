"""What travels beside a call says the same in every ecosystem, and its trace context is one that the standard knows."""

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perdure.model.call import Attempt
from perdure.wire.attempts import Sender, attempt_id, call_of
from perdure.wire.headers import (
    CallNames,
    grpc_metadata,
    headers_of,
    http_headers,
    names_of,
    read_headers,
)
from perdure.wire.tracing import span_id, split_traceparent, trace_id, traceparent
from tests.wire import values

calls = values.attempts.map(lambda attempt: call_of(attempt, Sender(namespace="shop", lease_ms=1), sent_us=0))
NAMES = CallNames(
    id="r#0#1~1.2", key="r#0#1", run="r", call="1", attempt=2, action="pay", namespace="", trace=traceparent("r", "r#0#1~1.2")
)


@pytest.mark.covers("F24")
@given(calls)
def test_every_ecosystem_gives_the_names_back(call: values.messages.Call) -> None:
    headers = headers_of(call)
    names = names_of(call)
    assert read_headers(headers) == names
    assert read_headers(http_headers(headers)) == names
    assert read_headers(dict(grpc_metadata(headers))) == names
    assert read_headers(headers_of(names)) == names


@given(calls)
def test_no_id_can_end_a_header_and_begin_another(call: values.messages.Call) -> None:
    for name, value in http_headers(headers_of(call)).items():
        assert re.fullmatch(r"[A-Za-z-]+", name)
        assert re.fullmatch(r"[!-~]+", value)


@pytest.mark.covers("F24")
def test_each_ecosystem_has_its_own_names() -> None:
    headers = headers_of(NAMES)
    trace = headers["traceparent"]
    assert headers == {
        "traceparent": trace,
        "idempotency-key": "r#0#1",
        "perdure-id": "r#0#1~1.2",
        "perdure-run": "r",
        "perdure-call": "1",
        "perdure-attempt": "2",
        "perdure-sequence": "1",
        "perdure-action": "pay",
    }
    assert list(http_headers(headers))[:4] == ["traceparent", "Idempotency-Key", "Perdure-Id", "Perdure-Run"]
    assert ("idempotency-key", "r#0#1") in grpc_metadata({**headers, "grpc-timeout": "1S"})
    assert "grpc-timeout" not in dict(grpc_metadata({**headers, "grpc-timeout": "1S"}))


@pytest.mark.parametrize("missing", ["perdure-id", "idempotency-key", "perdure-run", "perdure-call", "perdure-attempt", "perdure-action"])
def test_headers_that_lack_a_name_are_not_those_of_a_call(missing: str) -> None:
    assert read_headers({name: value for name, value in headers_of(NAMES).items() if name != missing}) is None


@pytest.mark.parametrize("attempt", ["0", "-1", "²", "1e3", "9" * 5000, "", "01"])
def test_an_attempt_that_is_no_number_is_refused(attempt: str) -> None:
    assert read_headers({**headers_of(NAMES), "perdure-attempt": attempt}) is None


@given(some.dictionaries(some.text(max_size=20) | some.sampled_from(list(headers_of(NAMES))), some.text(max_size=20)))
def test_no_headers_from_outside_raise(headers: dict[str, str]) -> None:
    read_headers({**headers_of(NAMES), **headers})


@given(values.attempts)
def test_the_trace_context_follows_the_standard_and_from_the_ids(attempt: Attempt) -> None:
    text = traceparent(attempt.run, attempt_id(attempt), "shop")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", text)
    assert split_traceparent(text) == (trace_id(attempt.run, "shop"), span_id(attempt_id(attempt)))
    assert text == traceparent(attempt.run, attempt_id(attempt), "shop")


@pytest.mark.covers("F24")
def test_a_trace_is_the_run_s_and_a_span_the_attempt_s() -> None:
    assert traceparent("r", "a")[:36] == traceparent("r", "b")[:36]
    assert traceparent("r", "a") != traceparent("r", "b")
    assert trace_id("r") != trace_id("s")
    assert trace_id("r", "shop") != trace_id("r")
    # What a stranger must be able to make again.
    assert trace_id("r", "shop") == sha256(b"shop\x00r").hexdigest()[:32]
    assert span_id("r#0#1~1.1") == sha256(b"r#0#1~1.1").hexdigest()[:16]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-will-be", True),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", False),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("", False),
    ],
)
def test_a_trace_context_counts_only_as_the_standard_says(text: str, expected: bool) -> None:
    assert (split_traceparent(text) is not None) is expected
