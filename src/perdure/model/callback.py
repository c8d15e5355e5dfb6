"""Callbacks, as the store keeps them, and the words that stand for their URLs in a journal."""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, unquote

from msgspec import Struct

CALLBACKS: Final = "callback"
"""The kind of record of callbacks."""
CALLBACK_ACTION: Final = "perdure.callback"
"""The action that makes a callback: every node performs it."""
SCHEME: Final = "perdure-callback://"
_REFERENCE: Final = re.compile(rb"perdure-callback://([A-Za-z0-9_.~%-]+)/([A-Za-z0-9_-]{22})")
_TAG_CHARACTERS: Final = 22


class CallbackRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the answer to a callback goes: a channel of a run. ``schema``: the JSON Schema of the answer, if it has one."""

    run: str
    channel: str
    schema: dict[str, Any] | None = None


def callback_key(token: str) -> str:
    """Give the key of a callback's record."""
    return sha256(token.encode(errors="surrogatepass")).hexdigest()


def token_of(secret: bytes, key: str) -> str:
    """Give the token of the callback that the call of this key made: 256 bits that only who has the store's secret can work out."""
    return _text(hmac.digest(secret, b"token\0" + key.encode(), "sha256"))


def reference_of(secret: bytes, key: str) -> str:
    """Give what stands for the callback's URL in a journal. It opens nothing, and nobody else can write one that is taken for real."""
    return f"{SCHEME}{quote(key, safe='')}/{_tag(secret, key)}"


def references_in(data: bytes, secret: bytes) -> Mapping[bytes, str]:
    """Give the references in a text that were made with this secret, and the keys of their calls."""
    found: dict[bytes, str] = {}
    for match in _REFERENCE.finditer(data):
        key = unquote(match[1].decode())
        if hmac.compare_digest(_tag(secret, key).encode(), match[2]):
            found[match[0]] = key
    return found


def _tag(secret: bytes, key: str) -> str:
    return _text(hmac.digest(secret, b"reference\0" + key.encode(), "sha256"))[:_TAG_CHARACTERS]


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
