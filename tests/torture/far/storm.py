"""A storm over workers: the faults of a script under load, the calm after it, and what the auditors say then."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from msgspec import Struct

from perdure.model.errors import PerdureError
from tests.torture.far.audit import Findings, audit, read_effects
from tests.torture.far.client import Wishes
from tests.torture.far.members import Member
from tests.torture.far.servers import Broker
from tests.torture.far.topology import LEASE_S, WORKERS, Topology, topology
from tests.torture.far.ways import WAYS, Fault, Kind, Name

Say = Callable[[str], None]
SPANS_S = (0.0, 0.02, 0.02, 0.2, 1.5, LEASE_S + 0.5)
READY_S = 90.0
_LOOK_S = 0.02


class FarForecast(Struct, frozen=True):
    """Everything that a storm over workers is made of. ``kinds``: the faults to choose from, all of the way if none is named.

    ``fault``: planted in all members, to see it found. ``spans_s``: of which an errand's longest call takes one.
    """

    way: Name
    seed: int
    seconds: float = 12.0
    kinds: tuple[Kind, ...] = ()
    fault: str = ""
    tellers: int = 12
    spans_s: tuple[float, ...] = SPANS_S
    calm_s: float = 60.0

    def script(self) -> list[Fault]:
        """Give the faults in order; all kinds come up before one comes again."""
        random, way = Random(f"far {self.way} {self.seed}"), WAYS[self.way]
        script: list[Fault] = []
        deck: list[Kind] = []
        at_s = 1.0
        while at_s < self.seconds:
            if not deck:
                kinds = self.kinds or way.kinds
                deck = random.sample(kinds, len(kinds))
            kind = deck.pop()
            count = {
                "kill worker": WORKERS,
                "pause worker": WORKERS,
                "kill node": way.nodes,
                "pause node": way.nodes,
                "partition": WORKERS + way.nodes,
            }.get(kind, 1)
            script.append(Fault(round(at_s, 2), kind, random.randrange(count), round(_span_s(random, kind), 2)))
            at_s += random.uniform(0.8, 2.4)
        return script


def _span_s(random: Random, kind: Kind) -> float:
    match kind:
        case "pause worker" | "pause node" | "partition":
            # Past the lease: others have its attempts when it is heard again.
            return random.uniform(1.3, 2) * LEASE_S
        case "cut":
            return 0.0
        case _:
            return random.uniform(0.1, 1) * LEASE_S


class Storm:
    """The faults come one after the other; those that last end when their time has come."""

    def __init__(self, forecast: FarForecast, place: Topology, say: Say) -> None:
        self._forecast = forecast
        self._place = place
        self._say = say
        self._begun_s = time.monotonic()
        self._ends: list[tuple[float, Callable[[], Awaitable[None]]]] = []

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._begun_s

    async def gather(self) -> None:
        """All are at work. Workers begin before the nodes that will hear them."""
        for member in self._place.members:
            member.begin()
        await self._until(lambda: all(member.is_up for member in self._place.members), READY_S)
        wishes = Wishes(self._place.store, self._forecast.seed, str(self._place.told), self._forecast.tellers, self._forecast.spans_s)
        self._place.begin_client(wishes)
        if not await self._until(lambda: len(read_effects(self._place.effects)) >= 2 * self._forecast.tellers, READY_S):
            raise AssertionError("the storm could not begin")

    async def _until(self, holds: Callable[[], bool], within_s: float) -> bool:
        end_s = time.monotonic() + within_s
        while not (held := holds()) and time.monotonic() < end_s:  # noqa: ASYNC110 - what processes of others do has no event to wait for.
            await asyncio.sleep(0.05)
        return held

    async def rage(self) -> int:
        """The script is over, and so is every fault of it; gives their number."""
        self._begun_s = time.monotonic()
        script = self._forecast.script()
        for fault in script:
            await self._wait_until(fault.at_s)
            self._say(f"{self.now_s:6.1f} s  {fault}")
            await self._strike(fault)
        await self._wait_until(self._forecast.seconds)
        for _, end in self._ends:
            await end()
        return len(script)

    async def _wait_until(self, at_s: float) -> None:
        while self.now_s < at_s:
            await self._tend()
            await asyncio.sleep(_LOOK_S)

    async def _tend(self) -> None:
        for entry in [entry for entry in self._ends if entry[0] <= self.now_s]:
            self._ends.remove(entry)
            await entry[1]()
        self._supervise()

    def _has_ended(self, client: Member) -> bool:
        self._supervise()
        return client.code is not None

    def _supervise(self) -> None:
        for member in self._place.members:
            member.begin_again()

    def _later(self, fault: Fault, end: Callable[[], Awaitable[None]]) -> None:
        self._ends.append((self.now_s + fault.span_s, end))

    async def _strike(self, fault: Fault) -> None:
        place = self._place
        match fault.kind:
            case "kill worker":
                self._kill(fault, place.workers[fault.who])
            case "kill node":
                self._kill(fault, place.nodes[fault.who])
            case "kill api":
                self._kill(fault, place.apis[fault.who])
            case "pause worker":
                self._pause(fault, place.workers[fault.who])
            case "pause node":
                self._pause(fault, place.nodes[fault.who])
            case _:
                await self._strike_network(fault)

    def _kill(self, fault: Fault, member: Member) -> None:
        async def begin() -> None:
            member.begin()

        member.kill()
        self._later(fault, begin)

    def _pause(self, fault: Fault, member: Member) -> None:
        async def go_on() -> None:
            member.send(signal.SIGCONT)

        member.send(signal.SIGSTOP)
        self._later(fault, go_on)

    async def _strike_network(self, fault: Fault) -> None:
        place = self._place
        proxies = list(place.proxies.values())
        match fault.kind:
            case "cut":
                for proxy in proxies:
                    proxy.cut()
            case "away":
                await place.cut_off()
                self._later(fault, place.heal)
            case "partition":
                proxy = proxies[fault.who % len(proxies)]
                proxy.asks.clear()
                proxy.answers.clear()
                self._later(fault, place.heal)
            case "kill broker" | "wipe broker" | "kill database":
                await self._kill_server(fault)

    async def _kill_server(self, fault: Fault) -> None:
        server = self._place.server
        assert server is not None
        # One that is dead or has not recovered yet is let come back: it is not its own recovery that is on trial.
        while not await server.is_up():
            await self._tend()
            await asyncio.sleep(_LOOK_S)
        server.kill()
        if fault.kind == "wipe broker":
            assert isinstance(server, Broker)
            server.wipe()

        async def begin() -> None:
            server.begin()

        self._later(fault, begin)

    async def calm(self) -> list[str]:
        """All are up and in good order, and what was begun has ended; gives what has not."""
        place = self._place
        assert place.client is not None
        await place.heal()
        for member in place.members:
            member.send(signal.SIGCONT)
        await self._until_server_is_up()
        for member in place.members:
            member.begin()
        place.client.send(signal.SIGTERM)
        client = place.client
        await self._until(lambda: self._has_ended(client), self._forecast.calm_s)
        complaints = [] if client.code == 0 else [f"the client ended with {client.code}; see {client.log}"]
        for member in place.members:
            member.note_death()
        return complaints + [death for member in place.members for death in member.deaths]

    async def _until_server_is_up(self) -> None:
        async with asyncio.timeout(READY_S):
            while self._place.server is not None and not await self._place.server.is_up():  # noqa: ASYNC110 - as above.
                await asyncio.sleep(_LOOK_S)


class FarFindings(Struct):
    """What was wrong afterwards, empty if nothing, and what was done to come to it."""

    complaints: list[str]
    faults: int
    books: Findings
    calm_s: float


async def storm_over(forecast: FarForecast, folder: Path, database: str | None, say: Say = lambda line: None) -> FarFindings:
    """Let the storm come and go; give what is wrong after it. ``database``: of a PostgreSQL, for a store that is not on trial itself."""
    async with topology(WAYS[forecast.way], folder, database) as place:
        place.plant(forecast.fault)
        storm = Storm(forecast, place, say)
        await storm.gather()
        faults = await storm.rage()
        say(f"{storm.now_s:6.1f} s  calm")
        complaints = await storm.calm()
        calm_s = storm.now_s - forecast.seconds
        say(f"{storm.now_s:6.1f} s  audit")
        try:
            books = await audit(place.store, place.told, place.effects)
        except PerdureError as error:
            books = Findings([f"the books could not be read: {error}"])
    return FarFindings([*complaints, *books.complaints], faults, books, calm_s)
