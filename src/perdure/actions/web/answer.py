"""What a service answered, as data."""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from perdure.actions.secret import Veil

_CHARSET: Final = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_HEAD: Final = 1024
_TEXTS: Final = frozenset(
    {
        "application/json",
        "application/xml",
        "application/javascript",
        "application/x-www-form-urlencoded",
        "application/x-ndjson",
        "image/svg+xml",
    }
)
_KEPT_BACK: Final = frozenset({"set-cookie", "set-cookie2"})
"""What lets one in is not for journals."""


class Answer(Struct, frozen=True):
    """``content``: text, or base64 of what is none. ``content_type``: without parameters, in lower case, empty if there was none."""

    status: int
    headers: dict[str, str]
    content_type: str
    content: str
    is_text: bool
    url: str

    @staticmethod
    def of(status: int, headers: Sequence[tuple[str, str]], data: bytes, url: str) -> "Answer":
        """Give the answer with this content."""
        joined: dict[str, str] = {}
        for name, value in headers:
            if name.lower() not in _KEPT_BACK:
                joined[name.lower()] = f"{joined[name.lower()]}, {value}" if name.lower() in joined else value
        declared = joined.get("content-type", "")
        kind = declared.partition(";")[0].strip().lower()
        text = _text(data, kind, declared)
        content = b64encode(data).decode("ascii") if text is None else text
        return Answer(status, joined, kind, content, text is not None, url)

    def hidden(self, veil: Veil) -> "Answer":
        """Give it without the secrets that the service repeats."""
        content = veil.hide_echo(self.content) if self.is_text else self.content
        return Answer(self.status, veil.hide_echo(self.headers), self.content_type, content, self.is_text, veil.hide_echo(self.url))

    def fields(self) -> dict[str, Any]:
        """Give what is added to an item."""
        found = {
            "status_code": self.status,
            "content_type": self.content_type,
            "content": self.content,
            "headers": self.headers,
            "final_url": self.url,
        }
        return found if self.is_text else {**found, "is_base64": True}


def _text(data: bytes, kind: str, declared: str) -> str | None:
    if kind and not (kind.startswith("text/") or kind in _TEXTS or kind.endswith(("+json", "+xml"))):
        return None
    named = re.search(r"""charset\s*=\s*["']?([^"';\s]+)""", declared, re.IGNORECASE)
    inside = _CHARSET.search(data[:_HEAD]) if named is None else None
    charset = named[1] if named else inside[1].decode("ascii") if inside else "utf-8"
    try:
        return data.decode(charset, errors="replace" if kind else "strict")
    except LookupError:
        return data.decode("utf-8", errors="replace")
    except UnicodeDecodeError:
        return None
