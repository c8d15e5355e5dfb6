"""API tokens: made, listed, revoked and checked. Protects from a store that would give its reader the right to act.

A token's secret is 256 random bits, so one SHA-256 of it is as good as any slow hash: there is nothing to guess that stretching would make
dearer. (Slow hashes are for passwords, which people choose.) The store has the hash alone; the token is shown once.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from perdure.model.duration import Span, span_us
from perdure.model.errors import InvalidOption, TokenExists, TokenNotFound
from perdure.ports.clock import Clock
from perdure.ports.records import ABSENT, RecordChange, Records

KIND: Final = "token"
PREFIX: Final = "perdure_"
SECRET_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Scope(StrEnum):
    """What a token allows. ``people``: to answer tickets in anyone's name, beside a scope that lets it answer. ``admin``: everything."""

    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    CALLS = "calls"
    PEOPLE = "people"
    ADMIN = "admin"


class Token(Struct, frozen=True, kw_only=True):
    """A token as the store keeps it. ``hash``: SHA-256 of the secret, as hex."""

    name: str
    hash: str
    scopes: tuple[Scope, ...]
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Tell whether it allows that."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def is_live(self, now_us: int) -> bool:
        """Tell whether it still counts."""
        return self.revoked_us is None and (self.expires_us is None or now_us < self.expires_us)


class Tokens:
    """The tokens of one store, called ``store`` in errors."""

    def __init__(self, records: Records, clock: Clock, store: str = "this store") -> None:
        self._records = records
        self._clock = clock
        self._store = store

    async def create(self, name: str, scopes: Sequence[str], *, expires: Span | None = None) -> str:
        """The token is valid; gives it, for the only time. Raises `InvalidOption`, and `TokenExists` while one of that name is valid."""
        if not _NAME.fullmatch(name):
            raise InvalidOption(option="the token's name", found=repr(name), expected="1 to 64 of letters, digits, '-' and '_'")
        now_us, secret = self._clock.now_us(), secrets.token_urlsafe(SECRET_BYTES)
        expires_us = None if expires is None else now_us + span_us(expires)
        token = Token(name=name, hash=_hash(secret), scopes=_scopes(scopes), created_us=now_us, expires_us=expires_us)
        found = (await self._records.read(KIND, [name])).get(name)
        if found is not None and msgspec.json.decode(found.value, type=Token).is_live(now_us):
            raise TokenExists(name=name, store=self._store)
        change = RecordChange(KIND, name, msgspec.json.encode(token), ABSENT if found is None else found.version)
        if await self._records.write([change]):
            raise TokenExists(name=name, store=self._store)
        return f"{PREFIX}{name}.{secret}"

    async def list(self) -> list[Token]:
        """Give all tokens by name, those that no longer count too."""
        found: list[Token] = []
        after = ""
        while page := await self._records.scan(KIND, after=after):
            found += [msgspec.json.decode(record.value, type=Token) for record in page]
            after = page[-1].key
        return found

    async def revoke(self, name: str) -> None:
        """The token no longer counts, as soon as servers have forgotten that it did: some seconds. Raises `TokenNotFound`.

        Its record stays: a store that ever had a token never answers without one again.
        """
        while True:
            found = (await self._records.read(KIND, [name])).get(name)
            if found is None:
                raise TokenNotFound(name=name, store=self._store)
            token = msgspec.structs.replace(msgspec.json.decode(found.value, type=Token), revoked_us=self._clock.now_us())
            if not await self._records.write([RecordChange(KIND, name, msgspec.json.encode(token), found.version)]):
                return

    async def are_used(self) -> bool:
        """Tell whether there ever was a token: then nobody is answered without one."""
        return bool(await self._records.scan(KIND, limit=1))

    async def check(self, text: str) -> Token | None:
        """Give the token that the text is, ``None`` if it is none that counts."""
        name, _, secret = text.removeprefix(PREFIX).rpartition(".")
        found = (await self._records.read(KIND, [name])).get(name)
        if found is None or not text.startswith(PREFIX):
            return None
        token = msgspec.json.decode(found.value, type=Token)
        is_right = hmac.compare_digest(token.hash, _hash(secret))
        return token if is_right and token.is_live(self._clock.now_us()) else None


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _scopes(names: Sequence[str]) -> tuple[Scope, ...]:
    known = [scope.value for scope in Scope]
    for name in names:
        if name not in known:
            raise InvalidOption(option="scopes", found=repr(name), expected=", ".join(known))
    if not names:
        raise InvalidOption(option="scopes", found="none", expected=f"some of {', '.join(known)}")
    return tuple(Scope(name) for name in names)
