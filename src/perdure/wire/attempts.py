"""Between the engine's attempts and outcomes and the messages of the wire; what comes from outside is proved here before it is believed."""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from typing import Final, assert_never

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from perdure.model import call as model
from perdure.model.errors import InvalidMessage
from perdure.model.failure import Failure
from perdure.model.ids import CallKey, CallName, RunId
from perdure.model.payload import EMPTY_CONTENT, Content
from perdure.wire.messages import INSTANT_MS_MAX, SPAN_MS_MAX, VERSION, Call, Held, Outcome, WireError
from perdure.wire.tracing import traceparent

_MILLISECOND: Final = 1_000
_DIGITS: Final = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_BASE: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_CODEC: Final = re.compile(r"(json|bytes)(\+[A-Za-z0-9-]{1,40}){0,8}", re.ASCII)
_failures = msgspec.json.Decoder(Failure)


class Sender(Struct, frozen=True, kw_only=True):
    """Who sends calls: a node. ``lease_ms``: it gives an attempt up that was in no beat for so long."""

    namespace: str = ""
    node: str = ""
    lease_ms: int


def attempt_id(attempt: model.Attempt) -> str:
    """Name an attempt over all runs: the same when it is sent again."""
    return f"{attempt.key}~{attempt.sequence}.{attempt.number}"


def split_attempt_id(text: str) -> tuple[CallKey, int, int] | None:
    """Give the call's key, the sequence and the number of an attempt; ``None`` if it is no id of one."""
    key, _, numbers = text.rpartition("~")
    sequence, _, number = numbers.partition(".")
    if not (key and _DIGITS.fullmatch(sequence) and _DIGITS.fullmatch(number)):
        return None
    return CallKey(key), int(sequence), int(number)


def call_of(attempt: model.Attempt, sender: Sender, *, sent_us: int, version: int = 1, definition: str = "") -> Call:
    """Give the message that asks a worker for an attempt. Times are rounded up to whole milliseconds."""
    id, spec = attempt_id(attempt), attempt.spec
    values = [(str(at), content) for at, content in enumerate(attempt.args)]
    named = [(_escaped(name), content) for name, content in attempt.kwargs.items()]
    return Call(
        v=VERSION,
        id=id,
        key=attempt.key,
        namespace=sender.namespace,
        run=attempt.run,
        call=attempt.call,
        definition=definition,
        attempt=attempt.number,
        sequence=attempt.sequence,
        action=spec.name,
        version=version,
        args=[_written(content) for content in attempt.args],
        kwargs={name: _written(content) for name, content in attempt.kwargs.items()},
        encodings={name: content.codec for name, content in (*values, *named) if content.codec != "json"},
        sent_ms=sent_us // _MILLISECOND,
        deadline_ms=_bounded_ms(attempt.end_us, INSTANT_MS_MAX),
        timeout_ms=_bounded_ms(spec.timeout_us, SPAN_MS_MAX),
        lease_ms=sender.lease_ms,
        details=UNSET if attempt.details is None else _written(attempt.details),
        details_encoding="json" if attempt.details is None else attempt.details.codec,
        trace=traceparent(attempt.run, id, sender.namespace),
        node=sender.node,
    )


def attempt_of(call: Call, spec: model.ActionSpec) -> model.Attempt:
    """Give the attempt that a call asks for, with the action as this process knows it and the call's timeout. Raises `InvalidMessage`."""
    base = _proved_base(call)
    for name in set(call.encodings) - {*map(str, range(len(call.args))), *map(_escaped, call.kwargs)}:
        raise InvalidMessage(problem=f"encodings names the argument {name[:60]!r}, which the call does not have")
    return model.Attempt(
        run=RunId(call.run),
        base=base,
        call=CallName(call.call),
        number=call.attempt,
        sequence=call.sequence,
        spec=msgspec.structs.replace(spec, timeout_us=None if call.timeout_ms is None else call.timeout_ms * _MILLISECOND),
        args=tuple([_read(raw, call.encodings.get(str(at), "json"), f"args[{at}]") for at, raw in enumerate(call.args)]),
        kwargs={name: _read(raw, call.encodings.get(_escaped(name), "json"), f"kwargs.{name}") for name, raw in call.kwargs.items()},
        end_us=None if call.deadline_ms is None else call.deadline_ms * _MILLISECOND,
        details=details_of(call),
    )


def details_of(message: Call | Held) -> Content | None:
    """Give what an attempt reported of its progress, ``None`` if nothing. Raises `InvalidMessage`."""
    return None if message.details is UNSET else _read(message.details, message.details_encoding, "details")


def held(id: str, details: Content | None = None) -> Held:
    """Give the entry of an attempt in a beat."""
    return Held(id=id) if details is None else Held(id=id, details=_written(details), details_encoding=details.codec)


def wire_outcome(id: str, outcome: model.Outcome, *, worker: str) -> Outcome:
    """Give the message of how the attempt of that id ended."""
    parts = split_attempt_id(id)
    assert parts is not None, f"{id!r} is no id of an attempt"
    content, failure = outcome.content, outcome.failure
    is_data = failure is None and content is not None and content.codec != EMPTY_CONTENT.codec
    return Outcome(
        v=VERSION,
        id=id,
        key=parts[0],
        worker=worker,
        status="error" if failure is not None else "pending" if content is None else "data" if is_data else "empty",
        value=_written(content) if is_data and content is not None else UNSET,
        encoding=content.codec if is_data and content is not None else "json",
        error=None if failure is None else error_of(failure, outcome.error_types),
        took_ms=outcome.took_us / _MILLISECOND,
        retry_after_ms=None if outcome.retry_after_us is None else min(_ms(outcome.retry_after_us), SPAN_MS_MAX),
    )


def error_of(failure: Failure, types: Iterable[str] = ()) -> WireError:
    """Give a failure as strangers read it, and whole beside it for those who know its form."""
    return WireError(
        type=failure.type,
        message=failure.message,
        is_final=failure.is_final,
        traceback=failure.traceback,
        types=list(types),
        failure=Raw(msgspec.json.encode(failure)),
    )


def outcome_of(message: Outcome) -> model.Outcome:
    """Give the outcome that a message tells of. Raises `InvalidMessage` where it does not hold what its status promises."""
    took_us = round(message.took_ms * _MILLISECOND)
    match message.status:
        case "data":
            if message.value is UNSET:
                raise InvalidMessage(problem="the field 'value' is missing, which status 'data' promises; 'empty' has none")
            return model.Outcome(content=_read(message.value, message.encoding, "value"), took_us=took_us)
        case "empty":
            return model.Outcome(content=EMPTY_CONTENT, took_us=took_us)
        case "pending":
            return model.Outcome(took_us=took_us)
        case "error":
            if message.error is None:
                raise InvalidMessage(problem="the field 'error' is missing, which status 'error' promises")
            failure = failure_of(message.error)
            return model.Outcome(
                failure=failure,
                took_us=took_us,
                retry_after_us=None if message.retry_after_ms is None else message.retry_after_ms * _MILLISECOND,
                error_types=tuple(message.error.types) or (failure.type,),
            )
        case _:
            assert_never(message.status)


def failure_of(error: WireError) -> Failure:
    """Give the failure: whole where its worker wrote it so, else one that is raised as `ActionFailed` in the workflow."""
    if error.failure is not UNSET:
        try:
            whole = _failures.decode(error.failure)
        except (msgspec.MsgspecError, RecursionError):
            # Its parts stand beside it, in the form that every worker writes: nothing needed is lost.
            pass
        else:
            return msgspec.structs.replace(whole, is_final=True) if error.is_final else whole
    return Failure(type=error.type, message=error.message, traceback=error.traceback, is_final=error.is_final)


def _proved_base(call: Call) -> int:
    """Prove that the names of a call agree, and give the incarnation that only its key tells."""
    before, after = f"{call.run}#", f"#{call.call}"
    base = call.key[len(before) : -len(after)]
    if call.key != f"{before}{base}{after}" or not _BASE.fullmatch(base):
        raise InvalidMessage(problem=f"the key {call.key[:60]!r} is not made of run, incarnation and call")
    if call.id != f"{call.key}~{call.sequence}.{call.attempt}":
        raise InvalidMessage(problem=f"the id {call.id[:60]!r} is not made of key, sequence and attempt")
    return int(base)


def _escaped(name: str) -> str:
    """Keep a keyword argument from looking like a position."""
    return f"={name}" if name.isdigit() or name.startswith("=") else name


def _bounded_ms(us: int | None, most: int) -> int | None:
    """A bound that is further off than a message can say is none."""
    return None if us is None or _ms(us) > most else _ms(us)


def _ms(us: int) -> int:
    return -(-us // _MILLISECOND)


def _written(content: Content) -> Raw:
    if content.codec in ("json", EMPTY_CONTENT.codec):
        return Raw(content.data)
    return Raw(b'"' + b64encode(content.data) + b'"')


def _read(raw: Raw | UnsetType, codec: str, what: str) -> Content:
    assert raw is not UNSET
    if codec == "json":
        return Content(codec, _proved_json(bytes(raw), what))
    if codec == EMPTY_CONTENT.codec:
        return EMPTY_CONTENT
    if not _CODEC.fullmatch(codec):
        raise InvalidMessage(
            problem=f"the encoding of {what} is {codec[:60]!r}; known are 'json', 'bytes', 'empty' and chains of codecs on them"
        )
    try:
        return Content(codec, b64decode(msgspec.json.decode(raw, type=str), validate=True))
    except (msgspec.MsgspecError, NotBase64, ValueError) as error:
        raise InvalidMessage(problem=f"{what} is not base64, as its encoding {codec!r} says: {error}") from error


def _proved_json(text: bytes, what: str) -> bytes:
    """What is JSON by its form may still hold what nothing here can read, and would be found out only in the workflow."""
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage(problem=f"{what} cannot be read: {error}") from error
    # Facts are lines: a value that was laid out over several is drawn together.
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text
