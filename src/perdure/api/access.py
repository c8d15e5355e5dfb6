"""Who may ask what. Protects from strangers, and from pages in a browser on this machine that try the port."""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Protocol
from urllib.parse import urlsplit

from perdure.api.problems import Refusal
from perdure.control.tokens import Scope, Token
from perdure.model.duration import MICROSECONDS
from perdure.ports.clock import Clock

REMEMBERED_US: Final = 5 * MICROSECONDS
"""How long a token that was found good is good without a look into the store: so long a revoked one may go on."""
REMEMBERED_MAX: Final = 1_000
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class KnownTokens(Protocol):
    """What access asks of `perdure.control.tokens.Tokens`."""

    async def are_used(self) -> bool: ...

    async def check(self, text: str) -> Token | None: ...


class Access:
    """``is_local``: only this machine can reach the server; then, and as long as the store has never had a token, none is needed."""

    def __init__(self, tokens: KnownTokens | None, clock: Clock, *, is_local: bool) -> None:
        self._tokens = tokens
        self._clock = clock
        self._is_local = is_local
        self._remembered: OrderedDict[bytes, tuple[int, Token]] = OrderedDict()
        self._free_until_us = 0

    async def admit(self, headers: Mapping[str, str], scope: Scope) -> Token | None:
        """The request may be answered; gives its token, ``None`` where none is needed.

        Raises `Refusal`: 401 without a token that counts, 403 without the scope, which it names.
        """
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if await self._is_free():
            _check_local(headers)
            return None
        token = await self._token(text.strip()) if scheme.lower() == "bearer" and text else None
        if token is None:
            detail = "This server answers with a token only: send 'Authorization: Bearer TOKEN'; 'perdure token create' makes one."
            if text:
                detail = "The token is unknown, has expired or was revoked; 'perdure token create' makes another."
            raise Refusal(401, "token-needed", detail, {"WWW-Authenticate": 'Bearer realm="perdure"'})
        if not token.allows(scope):
            have = ", ".join(token.scopes)
            detail = f"The token {token.name!r} lacks the scope {scope.value}; it has {have}."
            challenge = f'Bearer realm="perdure", error="insufficient_scope", scope="{scope.value}"'
            raise Refusal(403, "scope-missing", detail, {"WWW-Authenticate": challenge})
        return token

    async def _is_free(self) -> bool:
        if not self._is_local or self._tokens is None:
            return self._is_local
        now_us = self._clock.now_us()
        if now_us >= self._free_until_us:
            if await self._tokens.are_used():
                return False
            self._free_until_us = now_us + REMEMBERED_US
        return True

    async def _token(self, text: str) -> Token | None:
        """Give the token, from memory if it was found good a moment ago. Memory has its hash, never the text."""
        now_us, key = self._clock.now_us(), sha256(text.encode()).digest()
        until_us, token = self._remembered.get(key, (0, None))
        if token is not None and now_us < until_us and token.is_live(now_us):
            return token
        self._remembered.pop(key, None)
        found = None if self._tokens is None else await self._tokens.check(text)
        if found is not None:
            self._remembered[key] = (now_us + REMEMBERED_US, found)
            if len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return found


def _check_local(headers: Mapping[str, str]) -> None:
    """Refuse what only a browser sends: a name that someone made point here, or a page of another origin."""
    host = headers.get("host", "localhost")
    if urlsplit(f"//{host}").hostname not in LOOPBACK:
        raise Refusal(403, "host-unknown", f"Without tokens this server answers as localhost only, not as {host!r}.")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise Refusal(403, "origin-unknown", f"Without tokens this server answers no pages of {origin!r}.")
