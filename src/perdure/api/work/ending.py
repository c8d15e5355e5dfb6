"""How attempts end that were given out over HTTP. Protects a call from strangers, and its first outcome from the second (G4)."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import UNSET

from perdure.api.problems import Refusal
from perdure.api.work.pulling import Said
from perdure.model.errors import CallClosed, CallNotFound
from perdure.model.ids import RunId, split_call_key
from perdure.ports.clock import Clock
from perdure.ports.reporter import Reporter
from perdure.ports.store import Store
from perdure.remote.inbox import end_of
from perdure.wire.attempts import split_attempt_id
from perdure.wire.encoding import encode
from perdure.wire.messages import Outcome
from perdure.wire.receipts import is_receipt

OUTCOMES: Final = "http-outcome"
"""The kind of record that says which outcome an attempt was given: by it a second one is known."""
KEPT_US: Final = 24 * 3_600 * 1_000_000


class Endings:
    """``secret``: gives the key of receipts."""

    def __init__(self, store: Store, clock: Clock, reporter: Reporter, secret: Callable[[], Awaitable[bytes]]) -> None:
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._secret = secret

    async def check(self, attempt: str, token: str) -> None:
        """There is such an attempt, and the token is its receipt. Raises `CallNotFound`, and `Refusal` (403)."""
        names = _names(attempt)
        if names is None or await self._store.row(names[0]) is None:
            raise CallNotFound(key=attempt)
        if not is_receipt(await self._secret(), attempt, token):
            detail = f"The token is not the one that came with the attempt {attempt!r}; only who was given it may speak of it."
            raise Refusal(403, "receipt-wrong", detail)

    async def end(self, outcome: Outcome) -> None:
        """The outcome is on its way to its run: the first one stands, the same again changes nothing, another one raises `CallClosed`.

        Raises `InvalidMessage` for one that is none, and `CallClosed` if the run has ended or begun anew.
        """
        end_of(outcome)  # It is taken apart here, so that it is refused to whoever sent it.
        digest = _digest(outcome)
        known = (await self._store.read(OUTCOMES, [outcome.id])).get(outcome.id)
        if known is None:
            await self._check_open(outcome)
            expires_us = self._clock.now_us() + KEPT_US
            before = await self._store.add(OUTCOMES, {outcome.id: digest}, expires_us=expires_us)
            found = before.get(outcome.id, digest)
        else:
            found = known.value
        if found != digest:
            raise CallClosed(key=outcome.id, found="it was given another outcome before")
        if known is None or await self._is_open(outcome):
            # Sent again, too: whoever wrote the record may have died before it wrote the message.
            await self._reporter.report([Said(outcome.id, encode(outcome), None)])

    async def _check_open(self, outcome: Outcome) -> None:
        if not await self._is_open(outcome):
            raise CallClosed(key=outcome.id, found="its run has ended or begun anew")

    async def _is_open(self, outcome: Outcome) -> bool:
        names = _names(outcome.id)
        row = None if names is None else await self._store.row(names[0])
        return row is not None and names is not None and not row.status.is_final and row.base == names[1]


def _names(attempt: str) -> tuple[RunId, int] | None:
    parts = split_attempt_id(attempt)
    names = None if parts is None else split_call_key(parts[0])
    return None if names is None else (names[0], names[1])


def _digest(outcome: Outcome) -> bytes:
    """Tell two outcomes apart by what they say, not by how it is laid out or how long it took."""
    value = None if outcome.value is UNSET else msgspec.json.decode(outcome.value)
    error = outcome.error
    told = (outcome.status, value, outcome.encoding, None if error is None else (error.type, error.message, error.is_final))
    return sha256(msgspec.json.encode(told, order="sorted")).hexdigest().encode()


def attempt_only(text: str) -> str:
    """Give the id of an attempt; raises `CallNotFound` for what is none."""
    if _names(text) is None:
        raise CallNotFound(key=text)
    return text
