"""A storm: nodes, a client and a cluster, the faults of a script, the calm after it, and what the auditors say then."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from msgspec import Struct

from perdure.stores.postgres.schema import apply_schema
from tests.torture import bank
from tests.torture.audit import complaints_in_production, complaints_of
from tests.torture.books import Books
from tests.torture.client import Orders
from tests.torture.clock import HOUR_NS, NoCompiler, compile_shim
from tests.torture.cluster import Cluster, Standby, private_cluster
from tests.torture.crew import Crewman, Customer
from tests.torture.faults import OF_DATABASE, OF_NODES, Fault, Kind, write_script
from tests.torture.node import Life
from tests.torture.planted import plant_in_database

Say = Callable[[str], None]

LEASE_S = 3.0
CALM_S = 60.0
"""Within this span after the last fault all that was begun has ended."""


class Forecast(Struct, frozen=True):
    """Everything that a storm is made of. ``kinds``: the faults to choose from, all if none is named. ``fault``: planted in every node."""

    seed: int
    seconds: float
    nodes: int = 3
    kinds: tuple[Kind, ...] = ()
    fault: str = ""
    work_s: float = 0.01
    tellers: int = 8
    calm_s: float = CALM_S

    @property
    def standby(self) -> Standby:
        # To an asynchronous standby nobody may fail over who wants to lose nothing: it only makes the cluster busier.
        return "async" if self.seed % 4 == 3 else "sync"

    def script(self) -> list[Fault]:
        """Give the faults."""
        kinds = self.kinds or (*OF_NODES, *OF_DATABASE, *(("fail over",) if self.standby == "sync" else ()))
        return write_script(Random(f"faults {self.seed}"), self.seconds, kinds, nodes=self.nodes, lease_s=LEASE_S)


class Findings(Struct):
    """What was wrong afterwards, empty if nothing, and what was done to come to it."""

    complaints: list[str]
    books: Books
    faults: int


class Storm:
    """One storm on one cluster. The faults come one after the other; those that last end when their time has come."""

    def __init__(self, forecast: Forecast, cluster: Cluster, folder: Path, say: Say) -> None:
        self._forecast = forecast
        self._cluster = cluster
        self._say = say
        self._begun_s = time.monotonic()
        self._ends: list[tuple[float, Callable[[], None]]] = []
        library = _shim(folder, say)
        self.crew = [
            Crewman(
                Life(f"n{number}", cluster.url, f"{LEASE_S:.0f}s", forecast.work_s, forecast.fault),
                folder,
                library,
            )
            for number in range(forecast.nodes)
        ]
        self._can_jump = library is not None
        self.told = folder / "told.jsonl"
        self.told.touch()
        orders = Orders(cluster.url, forecast.seed, str(self.told), "disk+replica" if forecast.standby == "sync" else "disk")
        orders.tellers = forecast.tellers
        for crewman in self.crew:
            crewman.begin()
        self.customer = Customer(orders, folder)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._begun_s

    # The storm.

    def rage(self) -> int:
        """The script is over, and so is every fault of it; gives their number."""
        self._begun_s = time.monotonic()
        script = self._forecast.script()
        for fault in script:
            self._wait_until(fault.at_s)
            self._say(f"{self.now_s:6.1f} s  {fault.kind} ({fault})")
            self._strike(fault)
        self._wait_until(self._forecast.seconds)
        self._end_all()
        return len(script)

    def _wait_until(self, at_s: float) -> None:
        while self.now_s < at_s:
            self._end_due()
            time.sleep(0.05)

    def _end_due(self) -> None:
        for at_s, end in [entry for entry in self._ends if entry[0] <= self.now_s]:
            self._ends.remove((at_s, end))
            end()

    def _end_all(self) -> None:
        for _, end in self._ends:
            end()
        self._ends.clear()

    def _later(self, fault: Fault, end: Callable[[], None]) -> None:
        self._ends.append((self.now_s + fault.span_s, end))

    def _strike(self, fault: Fault) -> None:
        crewman = self.crew[fault.node]
        match fault.kind:
            case "kill":
                crewman.kill()
                self._later(fault, crewman.begin)
            case "pause":
                crewman.send(signal.SIGSTOP)
                self._later(fault, lambda: crewman.send(signal.SIGCONT))
            case "drain":
                crewman.send(signal.SIGCONT)
                crewman.drain()
                self._later(fault, crewman.begin)
            case "jump":
                self._jump(fault, crewman)
            case _:
                self._strike_database(fault)

    def _jump(self, fault: Fault, crewman: Crewman) -> None:
        if not self._can_jump:
            self._say("        no clock can jump here")
            return
        crewman.clock.move(HOUR_NS if round(fault.at_s * 100) % 2 else -HOUR_NS)
        self._later(fault, lambda: crewman.clock.move(0))

    def _strike_database(self, fault: Fault) -> None:
        cluster = self._cluster
        match fault.kind:
            case "terminate":
                cluster.terminate("node-%")
                cluster.terminate("bank-%")
            case "restart":
                cluster.restart()
            case "crash":
                cluster.restart(crash=True)
            case "absence":
                cluster.restart(down_s=fault.span_s)
            case "fail over":
                self._fail_over()

    def _fail_over(self) -> None:
        """To a standby that has everything: it has to follow again first, if the primary was away a moment ago."""
        self._cluster.primary.until("select sync_state from pg_stat_replication", "sync")
        self._cluster.fail_over()
        self._cluster.attach_standby()

    # The calm.

    def calm(self) -> list[str]:
        """All are up and in good order, the client has gone home, and what was begun has ended; gives what has not."""
        for crewman in self.crew:
            crewman.clock.move(0)
            crewman.send(signal.SIGCONT)
            crewman.begin()
        end_s = time.monotonic() + self._forecast.calm_s
        self.customer.send_home()
        while self.customer.code is None and time.monotonic() < end_s:
            time.sleep(0.1)
        complaints = [] if self.customer.code == 0 else [f"the client did not see through what it had begun: {self.customer.code}"]
        while (still := self._open_runs()) and time.monotonic() < end_s:
            time.sleep(0.1)
        return complaints + [f"{still} runs had not ended {self._forecast.calm_s:.0f} s after the last fault"] * bool(still)

    def _open_runs(self) -> int:
        open_runs = "status not in ('completed', 'failed', 'cancelled') and definition not in ('bank_sleeper', 'bank_waiter')"
        return int(self._cluster.primary.sql(f"select count(*) from perdure.run where {open_runs}"))

    def deaths(self) -> list[str]:
        """Tell of the nodes that ended by themselves, or did not end when they were told to."""
        for crewman in self.crew:
            crewman.note_death()
        return [death for crewman in self.crew for death in crewman.deaths]

    def end(self) -> None:
        """No process is left."""
        self.customer.kill()
        for crewman in self.crew:
            crewman.kill()


def _shim(folder: Path, say: Say) -> Path | None:
    try:
        return compile_shim(folder)
    except NoCompiler as error:
        say(f"CLOCKS DO NOT JUMP: {error}")
        return None


def weather(forecast: Forecast, folder: Path, say: Say = lambda line: None) -> Findings:
    """Let the storm come and go; give what is wrong after it."""
    with private_cluster(forecast.standby) as cluster:
        asyncio.run(apply_schema(cluster.url))
        bank.build_bank(cluster)
        plant_in_database(forecast.fault, cluster)
        storm = Storm(forecast, cluster, folder, say)
        try:
            struck = storm.rage()
            say(f"{storm.now_s:6.1f} s  calm")
            complaints = storm.calm()
            say(f"{storm.now_s:6.1f} s  audit")
            books = Books.read(cluster, storm.told)
            complaints += [*complaints_of(books), *asyncio.run(complaints_in_production(cluster.url))]
            complaints += storm.deaths()
        finally:
            storm.end()
    return Findings(complaints, books, struck)
