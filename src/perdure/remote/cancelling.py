"""Tells workers what nobody waits for any more. Protects workers from finishing work in vain; what they say of it is dropped either way."""

import asyncio

from perdure.model.errors import Unavailable
from perdure.ports.clock import Clock
from perdure.remote.carriers import Carrier


class Cancelling:
    """``kept_us``: how long an attempt is looked for whose worker is not known yet."""

    def __init__(self, clock: Clock, kept_us: int) -> None:
        self._clock = clock
        self._kept_us = kept_us
        self._unwanted: dict[str, tuple[Carrier, int]] = {}
        self._errands: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._unwanted)

    def cancel(self, carrier: Carrier, worker: str, id: str) -> None:
        """Whoever has the attempt is told: now if that is known, else once a beat says so."""
        if worker or carrier.is_under_way(id):
            self._begin(carrier, worker, id)
        else:
            self._unwanted[id] = carrier, self._clock.now_us() + self._kept_us

    def hear(self, worker: str, id: str) -> None:
        """A worker has the attempt."""
        if id in self._unwanted:
            self._begin(self._unwanted.pop(id)[0], worker, id)

    def forget_old(self) -> None:
        """Attempts that nobody has claimed to have in time are not looked for any more."""
        now_us = self._clock.now_us()
        self._unwanted = {id: entry for id, entry in self._unwanted.items() if entry[1] > now_us}

    def _begin(self, carrier: Carrier, worker: str, id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._tell(carrier, worker, id))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _tell(self, carrier: Carrier, worker: str, id: str) -> None:
        try:
            await carrier.cancel(worker, [id], "nobody waits for it any more")
        except Unavailable:
            pass  # It is only told; what it says in the end is dropped.

    async def close(self) -> None:
        """Nobody is told anything any more."""
        for task in self._errands:
            task.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
