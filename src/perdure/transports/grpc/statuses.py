"""What the status of a call means for its attempt: whether another one may help, and when."""

from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details  # type: ignore[import-untyped]  # The package has no types.
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # The package has no types.
from grpc.aio import AioRpcError

from perdure.model.call import Outcome
from perdure.model.failure import Failure

# Another attempt cannot change these. The others (UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNKNOWN, INTERNAL,
# CANCELLED) it may: what is done then is up to the call's retry policy.
FINAL: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DATA_LOSS,
    }
)
_STATUS_KEY: Final = "grpc-status-details-bin"
# https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
_PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
_TOLD: Final = (details.BadRequest, details.ErrorInfo, details.PreconditionFailure, details.QuotaFailure)
_TOO_LARGE: Final = "message larger than max"


def outcome_of_status(error: AioRpcError, method: str, address: str) -> Outcome:
    """Give the outcome of an attempt that ended with a status: its name for retry policies, code and details in words, the wished delay."""
    code, status = error.code(), _rich_status(error)
    is_final = code in FINAL or _is_too_large(error)
    told = "; ".join(text for text in (error.details() or "", *_told(status)) if text)
    hint = f" Register it again if it has changed: perdure grpc register {address}." if code is grpc.StatusCode.UNIMPLEMENTED else ""
    message = f"{method} at {address}: {code.name}: {told.rstrip('.!') or 'no details'}.{hint}"
    type_name = f"gRPC:{code.name}"
    timeout = ("builtins:TimeoutError",) if code is grpc.StatusCode.DEADLINE_EXCEEDED else ()
    return Outcome(
        failure=Failure(type_name, message, is_final=is_final),
        error_types=(type_name, "gRPC:Status", *timeout),
        retry_after_us=None if is_final else _retry_after_us(error, status),
    )


def _is_too_large(error: AioRpcError) -> bool:
    """A message that is too large stays so; the code alone looks as if the service were busy."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in (error.details() or "")


def _trailer(error: AioRpcError, name: str) -> str | bytes | None:
    return next((value for key, value in error.trailing_metadata() if key == name), None)


def _rich_status(error: AioRpcError) -> Status:
    data = _trailer(error, _STATUS_KEY)
    try:
        return Status.FromString(data) if isinstance(data, bytes) else Status()
    except DecodeError:
        # The plain status beside it says what matters.
        return Status()


def _retry_after_us(error: AioRpcError, status: Status) -> int | None:
    info = details.RetryInfo()
    if any(_unpack(detail, info) for detail in status.details) and info.HasField("retry_delay"):
        return max(0, int(info.retry_delay.ToMicroseconds()))
    pushback = _trailer(error, _PUSHBACK_KEY)
    return int(pushback) * 1000 if isinstance(pushback, str) and pushback.isdecimal() else None


def _told(status: Status) -> list[str]:
    """Put into words what the service says beside its text."""
    found: list[str] = []
    for detail in status.details:
        for known in _TOLD:
            message = known()
            if _unpack(detail, message):
                found.append(f"{known.DESCRIPTOR.name} {MessageToJson(message, indent=None)}")
    return found


def _unpack(detail: Any, message: Message) -> bool:
    try:
        return bool(detail.Unpack(message))
    except DecodeError:
        # It is not what it says it is; the plain status says what matters.
        return False
