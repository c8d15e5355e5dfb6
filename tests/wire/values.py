"""Messages and their parts, as Hypothesis makes them."""

from hypothesis import strategies as some
from msgspec import UNSET, Raw, json

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.errors import InvalidMessage as InvalidMessage
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.payload import EMPTY_CONTENT, Content
from perdure.wire import messages

texts = some.text(some.characters(exclude_categories=["Cs"]), max_size=12)
names = some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
numbers = some.integers(1, 2**31 - 1)
instants = some.integers(0, 253_402_300_799_000)
spans = some.integers(0, 315_576_000_000_000)
trees = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**63), 2**64 - 1) | some.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
raws = trees.map(json.encode).map(Raw)
maybe_raws = some.just(UNSET) | raws
contents = some.one_of(
    some.builds(Content, some.just("json"), trees.map(json.encode)),
    some.builds(Content, some.sampled_from(["bytes", "json+zlib", "bytes+zlib+aes-gcm"]), some.binary(max_size=20)),
    some.just(EMPTY_CONTENT),
)
failures = some.recursive(
    some.builds(
        Failure,
        texts,
        texts,
        some.just(UNSET) | some.lists(trees, max_size=2).map(json.encode).map(Raw),
        texts,
        some.none(),
        some.booleans(),
    ),
    lambda inner: some.builds(Failure, texts, texts, cause=inner, notes=some.lists(texts, max_size=2).map(tuple)),
    max_leaves=3,
)
attempts = some.builds(
    Attempt,
    run=names.map(RunId),
    base=some.integers(0, 2**31),
    call=some.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}/[0-9]{1,3})?", fullmatch=True).map(CallName),
    number=numbers,
    sequence=numbers,
    spec=some.builds(ActionSpec, names, timeout_us=some.none() | spans.map(lambda ms: ms * 1000)),
    args=some.lists(contents, max_size=3).map(tuple),
    kwargs=some.dictionaries(some.sampled_from(["0", "1", "=0", "a", "ü"]), contents, max_size=3),
    end_us=some.none() | instants.map(lambda ms: ms * 1000),
    details=some.none() | contents,
)
outcomes = some.one_of(
    some.builds(Outcome, content=contents, took_us=some.integers(0, 10**15)),
    some.builds(Outcome, took_us=some.integers(0, 10**15)),
    some.builds(
        Outcome,
        failure=failures,
        took_us=some.integers(0, 10**15),
        retry_after_us=some.none() | spans.map(lambda ms: ms * 1000),
        error_types=some.lists(names, min_size=1, max_size=3).map(tuple),
    ),
)

_v = some.just(1)
held = some.builds(messages.Held, id=names, details=maybe_raws, details_encoding=texts)
limits = some.builds(
    messages.Limit,
    concurrency=some.none() | numbers,
    rate=some.none() | some.floats(0.001, 1e6),
    burst=some.none() | numbers,
    key=some.none() | texts,
    key_concurrency=some.none() | numbers,
)
announced = some.builds(
    messages.AnnouncedAction,
    name=names,
    version=numbers,
    queue=names,
    description=texts,
    input_schema=maybe_raws,
    output_schema=maybe_raws,
    limit=some.none() | limits,
    cost=some.none() | some.floats(0, 1e9),
    service=texts,
)
errors = some.builds(
    messages.WireError,
    type=texts,
    message=texts,
    is_final=some.booleans(),
    traceback=texts,
    types=some.lists(texts, max_size=2),
    failure=maybe_raws,
)
all_messages = some.one_of(
    some.builds(
        messages.Call,
        v=_v,
        id=names,
        key=names,
        namespace=texts,
        run=names,
        call=names,
        definition=texts,
        attempt=numbers,
        sequence=numbers,
        action=names,
        version=numbers,
        args=some.lists(raws, max_size=2),
        kwargs=some.dictionaries(texts, raws, max_size=2),
        encodings=some.dictionaries(texts, texts, max_size=2),
        sent_ms=instants,
        deadline_ms=some.none() | instants,
        timeout_ms=some.none() | spans,
        lease_ms=spans,
        details=maybe_raws,
        details_encoding=texts,
        trace=texts,
        node=texts,
    ),
    some.builds(
        messages.Outcome,
        v=_v,
        id=names,
        key=names,
        worker=names,
        status=some.sampled_from(["data", "empty", "error", "pending"]),
        value=maybe_raws,
        encoding=texts,
        error=some.none() | errors,
        took_ms=some.floats(0, 1e12),
        retry_after_ms=some.none() | spans,
    ),
    some.builds(messages.Beat, v=_v, worker=names, attempts=some.lists(held, max_size=2), is_whole=some.booleans(), sent_ms=instants),
    some.builds(
        messages.Announce,
        v=_v,
        worker=names,
        host=texts,
        pid=some.integers(0, 2**31 - 1),
        language=texts,
        started_ms=instants,
        interval_ms=some.integers(1, 86_400_000),
        slots=numbers,
        actions=some.lists(announced, max_size=2),
        push_url=texts,
    ),
    some.builds(messages.Leave, v=_v, worker=names),
    some.builds(messages.Cancel, v=_v, attempts=some.lists(texts, max_size=2), reason=texts),
)
