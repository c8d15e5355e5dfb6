"""How workers over HTTP are given calls, and answer them: the messages of the wire, with a receipt and without what the path says."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs

from perdure.model.ids import CallKey
from perdure.wire.messages import VERSION, Call, Outcome, Span, WireError
from perdure.wire.receipts import receipt_of


class GivenCall(Call, frozen=True, omit_defaults=True, kw_only=True, tag="call"):
    """A call that this worker has now; docs/reference/wire.md tells of its fields. ``token``: its receipt, without which nobody is
    believed what they say of it. ``queue``: in which it lay.
    """

    token: str
    queue: str = "default"


class Answer(Struct, frozen=True, kw_only=True):
    """How an attempt ended, or a call that was left open: an outcome of docs/reference/wire.md, of which anything may be left out."""

    status: Literal["data", "empty", "error", "pending"] = "data"
    value: Raw | UnsetType = UNSET
    encoding: str = "json"
    error: WireError | None = None
    took_ms: Annotated[float, Meta(ge=0, le=315_576_000_000_000)] = 0
    retry_after_ms: Span | None = None
    v: Literal[1] = 1


def given(secret: bytes, call: Call, queue: str = "default") -> GivenCall:
    """Give the call with its receipt."""
    return GivenCall(**structs.asdict(call), token=receipt_of(secret, call.id), queue=queue)


def outcome_from(answer: Answer, attempt: str, worker: str) -> Outcome:
    """Give the message that the nodes take. A value that is missing is ``null``."""
    is_bare = answer.status == "data" and answer.value is UNSET
    return Outcome(
        v=VERSION,
        id=attempt,
        key=CallKey(attempt.rpartition("~")[0]),
        worker=worker,
        status=answer.status,
        value=Raw(b"null") if is_bare else answer.value,
        encoding=answer.encoding,
        error=answer.error or (WireError() if answer.status == "error" else None),
        took_ms=answer.took_ms,
        retry_after_ms=answer.retry_after_ms,
    )
