"""Takes packets for the handlers of one transport, for all their addresses with one question. Protects the store from being asked in vain.

An idle handler asks when it hears of something, and otherwise ever more rarely.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from perdure.model.errors import Unavailable
from perdure.ports.clock import Clock
from perdure.ports.packets import Claim
from perdure.ports.store import Hint, Store

logger = logging.getLogger("perdure.transports")

TOGETHER_MAX: Final = 200
"""So many packets of one address are taken at once."""
PAUSE_FIRST_US: Final = 100_000
PAUSE_MAX_US: Final = 5_000_000
"""The longest pause while the store is away."""
END_S: Final = 5.0
"""What was asked of the store when the transport closes may take so long."""

Wanted = Callable[[], Mapping[str, int]]
"""Gives how many packets of each address there is room for now."""
HandOut = Callable[[list[Claim], int], None]
"""Takes what was taken, and until when."""


class Taker:
    """Asks again at once where there was as much as was asked for; elsewhere when something is heard, or after the pause of the store.

    An address that gave less than was asked for is dry: it is left out until one of the two happens.
    """

    def __init__(self, store: Store, clock: Clock, *, claim_us: int, wanted: Wanted, hand_out: HandOut) -> None:
        self._store = store
        self._clock = clock
        self._claim_us = claim_us
        self._wanted = wanted
        self._hand_out = hand_out
        self._dry: set[str] = set()
        self._called: set[str] = set()
        self._bell = asyncio.Event()
        self._pause_us = store.traits.poll_us
        self._look_us = 0
        self._owner = secrets.randbits(62)
        self._lost: tuple[dict[str, int], int] | None = None
        self._is_away = False
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """It asks from now on; safe to call twice."""
        if self._task is None:
            self._unsubscribe = self._store.subscribe(self._on_hint)
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"taker of {self._store.name}")

    def _on_hint(self, hint: Hint) -> None:
        called = self._wanted().keys() if hint.is_partial else hint.called
        if called:
            self._called |= called
            self._dry -= called
            self.ring()

    def ring(self) -> None:
        """There may be more room, or more packets."""
        self._bell.set()

    def look_at(self, address: str) -> None:
        """There is a new handler of this address."""
        self._dry.discard(address)
        self.ring()

    async def close(self) -> None:
        """Nothing is taken any more; what was being taken was handed out."""
        self._unsubscribe()
        task, self._task = self._task, None
        if task is not None:
            self.ring()
            _, late = await asyncio.wait([task], timeout=END_S)
            for one in late:
                one.cancel()
                await asyncio.wait([one])

    async def _run(self) -> None:
        while self._task is not None:
            self._bell.clear()
            try:
                if not await self.run_once():
                    await self._wait()
            except Unavailable as error:
                logger.log(logging.DEBUG if self._is_away else logging.WARNING, "no packets are taken: %s", error)
                await self._wait_for_store()
            except Exception:
                logger.exception("no packets are taken")
                await self._wait_for_store()

    async def run_once(self) -> int:
        """Packets for whom there is room were taken and handed out; gives their number, 0 too where nothing was asked."""
        self._look_again()
        asked = {address: min(count, TOGETHER_MAX) for address, count in self._wanted().items() if count > 0 and address not in self._dry}
        if not asked:
            return 0
        self._called.clear()
        now_us = self._clock.now_us()
        until_us = now_us + self._claim_us
        if self._lost is not None and self._lost[1] > now_us:
            # Whether it took something is not known: asked the same again, it tells.
            asked, until_us = self._lost
        self._lost = asked, until_us
        claims = await self._store.take_packets(asked, self._owner, now_us=now_us, until_us=until_us)
        self._lost, self._is_away = None, False
        left = dict(asked)
        for claim in claims:
            left[claim.address] -= 1
        # What was called while the store was asked may have come after it had looked.
        self._dry |= {address for address, count in left.items() if count} - self._called
        if claims:
            self._pause_us = self._store.traits.poll_us
            self._look_us = min(self._look_us, now_us + self._pause_us)
            self._hand_out(claims, until_us)
        return len(claims)

    def _look_again(self) -> None:
        """When the pause is over, no address counts as dry, however busy the others are; the next pause is longer."""
        now_us = self._clock.now_us()
        # A clock may have jumped back.
        if not self._look_us - self._pause_us <= now_us < self._look_us:
            self._dry.clear()
            self._pause_us = min(2 * self._pause_us, self._store.traits.poll_idle_us)
            self._look_us = now_us + self._pause_us

    async def _wait(self) -> None:
        """Something was heard, or it is time to look; without room, that there is room."""
        if any(self._wanted().values()):
            await self._rung_within(self._look_us - self._clock.now_us())
        else:
            await self._bell.wait()

    async def _wait_for_store(self) -> None:
        self._is_away = True
        await self._rung_within(self._pause_us)
        self._pause_us = min(2 * max(self._pause_us, PAUSE_FIRST_US), PAUSE_MAX_US)

    async def _rung_within(self, span_us: int) -> None:
        alarm = self._clock.call_at(self._clock.now_us() + span_us, self.ring)
        try:
            await self._bell.wait()
        finally:
            alarm.cancel()
