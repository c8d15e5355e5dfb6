"""The W3C trace context of a call, made from its names alone: every log and every service that hears of an attempt can be joined, without
anything being written down.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

import re
from hashlib import sha256
from typing import Final

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def trace_id(run: str, namespace: str = "") -> str:
    """Give the trace of a run: the first 16 bytes of SHA-256 over namespace, a zero byte and run id, as 32 hexadecimal digits."""
    return _digest(f"{namespace}\0{run}", 16)


def span_id(attempt: str) -> str:
    """Give the span of an attempt: the first 8 bytes of SHA-256 over its id, as 16 hexadecimal digits."""
    return _digest(attempt, 8)


def traceparent(run: str, attempt: str, namespace: str = "") -> str:
    """Give the header's value for an attempt of that id, marked as sampled."""
    return f"00-{trace_id(run, namespace)}-{span_id(attempt)}-01"


def split_traceparent(text: str) -> tuple[str, str] | None:
    """Give trace id and span id; ``None`` for what the standard says to ignore."""
    found = _FORM.fullmatch(text)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]) or not int(found[2], 16) or not int(found[3], 16):
        return None
    return found[2], found[3]


def _digest(text: str, size: int) -> str:
    digest = sha256(text.encode(errors="surrogatepass")).digest()[:size]
    # All zeros mean "none" in the standard; nobody will ever see it.
    return (digest if any(digest) else b"\1" * size).hex()
