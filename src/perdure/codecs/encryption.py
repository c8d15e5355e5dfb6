"""Encryption with AES-GCM and keys that can be rotated.

A payload is: length of the key's id (one byte), the id, a nonce (12 bytes), the sealed bytes with their tag (16 bytes). The id is
authenticated with the bytes. Source: NIST SP 800-38D; its bound of 2**32 random nonces a key is a reason to rotate keys.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any, Final

from perdure.model.errors import InvalidOption, InvalidValue, Unsupported

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = (16, 24, 32)
_ALIKE_ABOVE: Final = 16 * 1024


class Encryption:
    """Payloads are encrypted with the key named ``current`` and read with whichever of ``keys`` they name.

    To rotate, add a key and make it the current one; keep the old ones for as long as payloads made with them are to be read. A key is
    16, 24 or 32 random bytes (`new_key`). A payload whose key is not here, or is another key of that name, raises `InvalidValue`: its run
    stalls, and goes on when an engine is opened that has the key.

    Equal payloads above 16 KiB get equal bytes, so that a picture given to many calls is still stored once; small ones never do, so that
    nobody can tell from outside which answers were alike. Needs the extra ``encryption``; without it raises `Unsupported`.
    """

    name: Final = "aes-gcm"

    def __init__(self, keys: Mapping[str, bytes], *, current: str) -> None:
        aead = _aead()
        for id, key in keys.items():
            _check(id, key)
        if current not in keys:
            raise InvalidOption(option="Encryption.current", found=repr(current), expected=f"the id of one of the keys: {_list(keys)}")
        self._current = current
        self._ciphers: dict[str, Any] = {id: aead(key) for id, key in keys.items()}
        self._nonce_key = hmac.digest(keys[current], b"perdure nonce of equal payloads", "sha256")

    def encode(self, data: bytes) -> bytes:
        """Give the sealed bytes."""
        id = self._current.encode()
        header = bytes((len(id),)) + id
        nonce = self._nonce(data)
        return header + nonce + bytes(self._ciphers[self._current].encrypt(nonce, data, header))

    def _nonce(self, data: bytes) -> bytes:
        if len(data) <= _ALIKE_ABOVE:
            return os.urandom(_NONCE_BYTES)
        return hmac.digest(self._nonce_key, hashlib.sha256(data).digest(), "sha256")[:_NONCE_BYTES]

    def decode(self, data: bytes) -> bytes:
        """Give back the bytes. Raises `InvalidValue`, which names the key, if that is not here or does not open them."""
        header = data[: 1 + data[0]] if data else b""
        sealed = data[len(header) :]
        if len(sealed) < _NONCE_BYTES or not header:
            raise _unreadable("its encrypted bytes are cut off")
        id = header[1:].decode(errors="replace")
        cipher = self._ciphers.get(id)
        if cipher is None:
            raise _unreadable(f"it was encrypted with the key {id!r}; this engine has {_list(self._ciphers)}. Add that key to keys=… again")
        try:
            return bytes(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], header))
        except Exception as error:
            raise _unreadable(f"the key {id!r} does not open it: another key has that name here, or the bytes are damaged") from error


def new_key() -> bytes:
    """Give a new key of 256 bits."""
    return os.urandom(32)


def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        why = "the package cryptography is missing; install it with pip install 'perdure[encryption]'"
        raise Unsupported(what="perdure.codecs.Encryption", why=why) from error
    return AESGCM


def _check(id: str, key: bytes) -> None:
    if not 0 < len(id.encode()) < 256:
        raise InvalidOption(option="an id of Encryption.keys", found=repr(id), expected="1 to 255 bytes of text, such as '2026-11'")
    if len(key) not in _KEY_BYTES:
        raise InvalidOption(option=f"the key {id!r} of Encryption.keys", found=f"{len(key)} bytes", expected="16, 24 or 32 random bytes")


def _list(keys: Mapping[str, Any]) -> str:
    return ", ".join(repr(id) for id in keys) or "none"


def _unreadable(problem: str) -> InvalidValue:
    return InvalidValue(f"A payload cannot be read: {problem}.", what="a payload", problem=problem)
