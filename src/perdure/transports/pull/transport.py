"""Long polls for whatever there is room for. Protects the server from a request for each action, calls from lying with a full worker."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import msgspec

from perdure.model.errors import InvalidOption, PerdureError, TransportUnavailable, Unsupported
from perdure.ports.transport import Handler, Packet, TransportTraits, calls_address, worker_address
from perdure.transports.pull.api import Api, Refused
from perdure.transports.pull.desk import Desk, Given
from perdure.transports.reception import Reception
from perdure.wire.encoding import encode
from perdure.wire.messages import VERSION, Cancel

logger = logging.getLogger("perdure.transports")

WAIT_MS: Final = 10_000
LIMIT_MAX: Final = 100
PACKET_BYTES_MAX: Final = 16 * 1024 * 1024
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_WORDS: Final = worker_address("")


class Taken:
    """A delivery. ``is_call``: else it is a word to this worker, which the server keeps saying by itself."""

    is_again = True
    """It may be: the server does not tell."""

    def __init__(self, transport: "PullTransport", reception: "Reception[Taken]", packet: Packet, *, is_call: bool) -> None:
        self._transport = transport
        self._reception = reception
        self._is_call = is_call
        self._is_settled = False
        self.packet = packet

    async def ack(self) -> None:
        await self._settle(None)

    def ack_soon(self, then: Callable[[], None]) -> None:
        self._is_settled = True
        self._transport.release(self._reception, self)
        then()

    async def give_back(self) -> None:
        await self._settle("")

    async def refuse(self, reason: str) -> None:
        await self._settle(reason)

    async def _settle(self, reason: str | None) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        try:
            if reason is not None and self._is_call:
                await self._transport.give_back(self.packet.id, reason)
        finally:
            self._transport.release(self._reception, self)


class _Handling:
    def __init__(self, transport: "PullTransport", reception: Reception[Taken]) -> None:
        self._transport = transport
        self._reception = reception

    async def stop(self) -> None:
        self._reception.is_open = False

    async def close(self) -> None:
        await self._reception.close()
        self._transport.forget(self._reception)


class PullTransport:
    """``desk``: shared with the reporters of the same worker. ``wait_ms``: how long the server waits for a call before it answers."""

    def __init__(self, api: Api, desk: Desk, *, wait_ms: int = WAIT_MS) -> None:
        self._api = api
        self._desk = desk
        self._wait_ms = wait_ms
        self._receptions: dict[Reception[Taken], int] = {}
        self._asked: set[str] = set()
        self._takes: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()
        self._pause_s = _PAUSE_FIRST_S
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_taking = False
        self.is_away = False

    @property
    def name(self) -> str:
        return self._api.name

    @property
    def traits(self) -> TransportTraits:
        return TransportTraits(packet_bytes_max=PACKET_BYTES_MAX, shows_packets=False)

    async def open(self) -> None:
        await self._api.open()
        try:
            await self._probe()
        except BaseException:
            await self._api.close()
            raise
        self._loop, self._is_taking = asyncio.get_running_loop(), True
        self._desk.on_announced = self.ring
        self._desk.on_cancelled = self._hear
        self._desk.on_leaving = self._end_takes

    async def _probe(self) -> None:
        """The API is there, and answers this worker: a worker that nobody knows has no calls."""
        try:
            await self._api.ask("POST", "calls/take", b'{"worker":"nobody"}')
        except Refused as refused:
            if refused.name != "worker-not-found":
                raise InvalidOption(
                    option="the URL of the API", found=f"{self.name}, which answers {refused}", expected="Perdure's"
                ) from None

    async def close(self) -> None:
        self._loop = None
        await self._end_takes()
        for reception in tuple(self._receptions):
            await reception.close()
        self._receptions.clear()
        await self._api.close()

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        raise self._unsupported("Sending packets")

    async def backlog(self, address: str) -> int:
        raise self._unsupported("Asking how much waits")

    def look(self, address: str) -> AsyncGenerator[Packet, None]:
        raise self._unsupported("Looking at packets")

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        raise self._unsupported("Dropping packets")

    def _unsupported(self, what: str) -> Unsupported:
        return Unsupported(what=f"{what} over {self.name}", why="workers take calls there, and report by its routes; nodes use the store")

    async def handle(self, address: str, handler: Handler, *, slots: int) -> _Handling:
        if self._loop is None:
            raise TransportUnavailable(transport=self.name, problem="it is not open")
        reception: Reception[Taken] = Reception(address, handler, slots)
        self._receptions[reception] = max(1, slots // 4)
        self.ring()
        return _Handling(self, reception)

    def forget(self, reception: Reception[Taken]) -> None:
        """The handling was closed."""
        self._receptions.pop(reception, None)

    def release(self, reception: Reception[Taken], delivery: Taken) -> None:
        """The delivery's slot is free."""
        reception.release(delivery)
        self.ring()

    async def give_back(self, attempt: str, reason: str) -> None:
        """Others have the call; with a reason, nobody. Where the server cannot be told, its lease ends, and then it is made again."""
        try:
            await self._desk.give_back(self._api, attempt, reason)
        except (PerdureError, Refused) as error:
            logger.warning("%s was not given back, and goes to another when its lease ends: %s", attempt, error)

    # Calls.

    def ring(self) -> None:
        """Whatever there is room for is being asked for: one long poll for all that none asks for yet.

        An action waits until a quarter of its slots is free, so that a busy worker takes many calls with a request.
        """
        rooms = {name: room for name, room in self._rooms().items() if name not in self._asked}
        if self._loop is None or not self._is_taking or not rooms:
            return
        self._asked.update(rooms)
        take = self._loop.create_task(self._take(sorted(rooms), min(LIMIT_MAX, *rooms.values())), name=f"take from {self.name}")
        self._takes.add(take)
        take.add_done_callback(self._takes.discard)

    def _rooms(self) -> dict[str, int]:
        """Give the room of each action that has enough: the least of its queues and versions, which cannot be asked for apart."""
        rooms: dict[str, int] = {}
        for reception, least in self._receptions.items():
            name = self._desk.actions.get(reception.address)
            if name is not None and reception.is_open:
                room = reception.room if reception.room >= least else 0
                rooms[name] = min(room, rooms.get(name, room))
        return {name: room for name, room in rooms.items() if room > 0}

    async def _take(self, names: Sequence[str], limit: int) -> None:
        try:
            given = await self._desk.take(self._api, names, limit, wait_ms=self._wait_ms)
            self._note(None)
            await self._hand_out(given)
        except (PerdureError, Refused, msgspec.MsgspecError) as error:
            self._note(error)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
            await self._announce_if_forgotten(error)
        finally:
            self._asked.difference_update(names)
            self.ring()

    async def _announce_if_forgotten(self, error: Exception) -> None:
        if isinstance(error, Refused) and error.name == "worker-not-found":
            try:
                await self._desk.announce_again(self._api)
            except (PerdureError, Refused) as problem:
                logger.debug("not announced: %s", problem)

    async def _hand_out(self, given: Sequence[Given]) -> None:
        """Each goes to the handler of its address; what nobody has room for any more is given back."""
        shares: dict[Reception[Taken], list[Taken]] = {}
        left: list[str] = []
        for call in given:
            address = calls_address(call.queue, call.action, call.version)
            fitting = [one for one in self._receptions if one.address == address and one.room > len(shares.get(one, ()))]
            if fitting:
                packet = Packet(call.id, call.text)
                shares.setdefault(fitting[0], []).append(Taken(self, fitting[0], packet, is_call=True))
            else:
                left.append(call.id)
        for reception, deliveries in shares.items():
            reception.receive(deliveries)
        await asyncio.gather(*(self.give_back(id, "") for id in left))

    def _note(self, error: Exception | None) -> None:
        """Log once that no calls come any more, and once that they do again."""
        if error is not None and not self.is_away:
            level = logging.WARNING if isinstance(error, TransportUnavailable) else logging.ERROR
            logger.log(level, "no calls can be taken: %s", error)
        elif error is None:
            self._pause_s = _PAUSE_FIRST_S
            if self.is_away:
                logger.info("calls are taken from %s again", self.name)
        self.is_away = error is not None

    async def _end_takes(self) -> None:
        self._is_taking = False
        takes = tuple(self._takes)
        for take in takes:
            take.cancel()
        await asyncio.gather(*takes, return_exceptions=True)

    # Words.

    def _hear(self, attempts: Sequence[str]) -> None:
        """From any thread: nobody waits for these."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, tuple(attempts))

    def _tell(self, attempts: Sequence[str]) -> None:
        """The worker hears it once of each attempt: the server says it as long as the attempt is under way."""
        new = [attempt for attempt in attempts if attempt not in self._told]
        words = next((one for one in self._receptions if one.address.startswith(_WORDS) and one.room > 0), None)
        if new and words is not None:
            packet = Packet(f"cancel {new[0]}", encode(Cancel(v=VERSION, attempts=new)))
            words.receive([Taken(self, words, packet, is_call=False)])
            self._told.update(new)
        self._told.intersection_update(attempts)
