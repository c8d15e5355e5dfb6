"""What goes wrong, as problem documents (RFC 9457): one status for each kind of error, and never a traceback."""

import math
from collections.abc import Mapping
from datetime import timedelta
from re import sub
from typing import Final

from msgspec import Struct

from perdure.model.errors import Overloaded, PerdureError

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final[Mapping[str, int]] = {
    "not found": 404,
    "conflict": 409,
    "invalid": 422,
    "not allowed": 403,
    "expired": 410,
    "unavailable": 503,
    "lease lost": 503,
    "non-deterministic": 409,
    "unsupported": 501,
    "too large": 413,
    "failed": 422,
    "internal": 500,
}
TITLES: Final[Mapping[int, str]] = {
    400: "The request cannot be read",
    401: "A token is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Not with this method",
    409: "Conflict",
    410: "Expired",
    413: "Too large",
    415: "Not in this format",
    422: "Invalid",
    429: "Overloaded",
    500: "A mistake in Perdure",
    501: "Not supported",
    503: "Not available now",
}
RETRY_S: Final = 1


class Problem(Struct, frozen=True, kw_only=True):
    """Why a request was not carried out. ``type`` names the error, such as ``urn:perdure:run-not-found``; ``detail`` says what to do."""

    type: str
    title: str
    status: int
    detail: str


class Refusal(Exception):
    """The request is refused before anything of the engine has seen it."""

    def __init__(self, status: int, name: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(type=f"urn:perdure:{name}", title=TITLES[status], status=status, detail=detail)
        self.headers = dict(headers or {})


def problem_of(error: PerdureError) -> tuple[Problem, dict[str, str]]:
    """Give the problem that an error is, and the headers that go with it."""
    status = 429 if isinstance(error, Overloaded) else _STATUS.get(error.kind, 500)
    headers = {"Retry-After": str(_retry_after_s(error))} if status in (429, 503) else {}
    name = sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()
    return Problem(type=f"urn:perdure:{name}", title=TITLES[status], status=status, detail=str(error)), headers


def _retry_after_s(error: PerdureError) -> int:
    """The header counts whole seconds."""
    span = error.fields.get("retry_after")
    return max(RETRY_S, math.ceil(span.total_seconds())) if isinstance(span, timedelta) else RETRY_S
