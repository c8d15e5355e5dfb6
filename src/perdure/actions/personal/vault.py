"""The vault of a run: tokens for values, and values for tokens. Protects people from their data being where it is not needed, and from its
outliving the key that opens it.

The key of a run is 256 random bits, wrapped with the master key by AES-GCM; tokens and the key of originals are worked out of it by HMAC.
Without the master key, or once the run's key is erased, originals are noise, and tokens cannot be guessed from values.
"""

import hmac
import os
from base64 import b64decode
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from perdure.model.errors import InvalidOption, PersonalDataErased, PersonalDataUnreadable, Unsupported
from perdure.model.personal import ERASED, PERSONAL, PERSONAL_KEYS, TOKEN_PREFIX, place_of
from perdure.ports.records import Records

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TOKEN_DIGITS: Final = 32


class Vault:
    """``key``: of the run, as `open_vault` gives it."""

    def __init__(self, records: Records, run: str, key: bytes) -> None:
        self._records = records
        self._run = run
        self._token_key = hmac.digest(key, b"perdure personal token", "sha256")
        self._cipher = _cipher(hmac.digest(key, b"perdure personal value", "sha256"))

    def token_of(self, value: Any) -> str:
        """Give the token of a value, the same whenever it is asked for in this run."""
        written = msgspec.json.encode(value, order="deterministic")
        return f"{TOKEN_PREFIX}{hmac.digest(self._token_key, written, 'sha256').hex()[:_TOKEN_DIGITS]}"

    async def keep(self, originals: Mapping[str, Any]) -> None:
        """The originals are durable, sealed, each under its token."""
        sealed = {place_of(self._run, token): self._sealed(token, value) for token, value in originals.items()}
        if sealed:
            await self._records.add(PERSONAL, sealed)

    async def originals(self, tokens: Collection[str]) -> dict[str, Any]:
        """Give the originals of these tokens; those that this run never gave out are left out. Raises `PersonalDataUnreadable`."""
        found = await self._records.read(PERSONAL, [place_of(self._run, token) for token in tokens])
        return {token: self._opened(token, found[place].value) for token in tokens if (place := place_of(self._run, token)) in found}

    def _sealed(self, token: str, value: Any) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + bytes(self._cipher.encrypt(nonce, msgspec.json.encode(value), self._bound_to(token)))

    def _opened(self, token: str, sealed: bytes) -> Any:
        try:
            return msgspec.json.decode(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound_to(token)))
        except Exception as error:
            raise PersonalDataUnreadable(run=self._run, problem=f"the record of {token} is damaged") from error

    def _bound_to(self, token: str) -> bytes:
        return place_of(self._run, token).encode()


async def open_vault(records: Records, run: str, master: str, *, creates: bool) -> Vault:
    """Give the vault of a run. ``master``: the master key as text. ``creates``: the run gets a key if it has none.

    Raises `InvalidOption` for a master key that is none, `PersonalDataErased`, and `PersonalDataUnreadable` for another master key.
    """
    cipher = _cipher(master_key_of(master))
    bound_to = b"perdure personal key\0" + run.encode()
    wrapped = (await records.read(PERSONAL_KEYS, [run])).get(run)
    if wrapped is None and not creates:
        raise PersonalDataErased(run=run, found="there is none")
    if wrapped is None:
        nonce = os.urandom(_NONCE_BYTES)
        fresh = nonce + bytes(cipher.encrypt(nonce, os.urandom(KEY_BYTES), bound_to))
        value = (await records.add(PERSONAL_KEYS, {run: fresh})).get(run, fresh)
    else:
        value = wrapped.value
    if value == ERASED:
        raise PersonalDataErased(run=run, found="its key was erased")
    try:
        key = bytes(cipher.decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], bound_to))
    except Exception as error:
        problem = "this is not the master key that its key was wrapped with"
        raise PersonalDataUnreadable(run=run, problem=problem) from error
    return Vault(records, run, key)


def master_key_of(text: str) -> bytes:
    """Give the master key that a text is: 32 bytes in base64. Raises `InvalidOption`, which does not repeat it."""
    try:
        key = b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidOption(option="the master key of personal data", found="something else", expected="32 random bytes in base64")
    return key


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        why = "the package cryptography is missing; install it with pip install 'perdure[encryption]'"
        raise Unsupported(what="personal data", why=why) from error
    return AESGCM(key)
