"""What travels beside a call, so that those who carry, log or deduplicate it need not open it: the names that each ecosystem has for it.

Values are visible ASCII; whatever else an id holds is percent-encoded as UTF-8 (RFC 3986): no id can end a header and begin another.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from msgspec import Struct

from perdure.wire.messages import Call
from perdure.wire.tracing import split_traceparent

TRACE: Final = "traceparent"
"""W3C trace context; lower case everywhere, as the standard asks where names have a case."""
KEY: Final = "idempotency-key"
"""The call's key: the same for every attempt. Source: draft-ietf-httpapi-idempotency-key-header, without its quotes."""
ID: Final = "perdure-id"
"""The attempt's id: the same when it is sent again."""
RUN: Final = "perdure-run"
CALL: Final = "perdure-call"
ATTEMPT: Final = "perdure-attempt"
SEQUENCE: Final = "perdure-sequence"
ACTION: Final = "perdure-action"
NAMESPACE: Final = "perdure-namespace"

_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_PLAIN: Final = re.compile(r"[!-$&-~]+", re.ASCII)
"""What needs no quoting: visible, and no percent sign."""
_DIGITS: Final = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)


class CallNames(Struct, frozen=True, kw_only=True):
    """What a call is called. ``trace``: the W3C traceparent, empty where there is none that counts."""

    id: str
    key: str
    run: str
    call: str
    attempt: int
    sequence: int = 1
    action: str
    namespace: str = ""
    trace: str = ""


def names_of(call: Call) -> CallNames:
    """Give the names of a call."""
    return CallNames(
        id=call.id,
        key=call.key,
        run=call.run,
        call=call.call,
        attempt=call.attempt,
        sequence=call.sequence,
        action=call.action,
        namespace=call.namespace,
        trace=call.trace if split_traceparent(call.trace) else "",
    )


def headers_of(call: Call | CallNames) -> dict[str, str]:
    """Give the headers of a call, names in lower case: those of a packet, and of HTTP/2."""
    names = names_of(call) if isinstance(call, Call) else call
    found = {
        TRACE: names.trace,
        KEY: names.key,
        ID: names.id,
        RUN: names.run,
        CALL: names.call,
        ATTEMPT: str(names.attempt),
        SEQUENCE: str(names.sequence),
        ACTION: names.action,
        NAMESPACE: names.namespace,
    }
    return {name: _quoted(value) for name, value in found.items() if value}


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_VISIBLE, errors="surrogatepass")


def read_headers(headers: Mapping[str, str]) -> CallNames | None:
    """Give the names that headers of any ecosystem tell, their case ignored; ``None`` if they are not those of a call."""
    found = {name.lower(): unquote(value, errors="replace") for name, value in headers.items()}
    attempt, sequence = found.get(ATTEMPT, ""), found.get(SEQUENCE, "1")
    if not all(found.get(name) for name in (ID, KEY, RUN, CALL, ACTION)) or not (
        _DIGITS.fullmatch(attempt) and _DIGITS.fullmatch(sequence)
    ):
        return None
    trace = found.get(TRACE, "")
    return CallNames(
        id=found[ID],
        key=found[KEY],
        run=found[RUN],
        call=found[CALL],
        attempt=int(attempt),
        sequence=int(sequence),
        action=found[ACTION],
        namespace=found.get(NAMESPACE, ""),
        trace=trace if split_traceparent(trace) else "",
    )


def http_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Give them as HTTP/1.1 is used to see them: ``Idempotency-Key``, ``Perdure-Run``; ``traceparent`` stays as its standard writes it."""
    return {name if name == TRACE else name.title(): value for name, value in headers.items()}


def grpc_metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Give them as the metadata of a gRPC call: lower case, visible ASCII, and no name that gRPC keeps for itself."""
    return tuple((name.lower(), value) for name, value in headers.items() if not name.lower().startswith("grpc-"))
