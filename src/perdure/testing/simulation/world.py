"""A simulated world: some processes with nodes on one store, clients that ask them for things, and faults, all from one seed."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from random import Random
from typing import Any
from zlib import crc32

from msgspec import Struct

from perdure.deciders.decider import Tools
from perdure.model.codec import Serializer
from perdure.model.limits import Limits
from perdure.stores.memory import MemoryStore
from perdure.testing.clock import VirtualClock
from perdure.testing.simulation.auditor import Auditor
from perdure.testing.simulation.bank import Bank, the_bank
from perdure.testing.simulation.clients import ACTS, Act, Broken, Client, wake_sitter
from perdure.testing.simulation.faults import SECOND_US, Fault, Kind, draw_faults
from perdure.testing.simulation.loop import NothingComes, run_virtually
from perdure.testing.simulation.process import Process
from perdure.testing.simulation.wire import Traffic
from perdure.testing.simulation.workload import REGISTRY

TROUBLE_S = 20
"""How long faults come."""

REST_S = 90
"""How long everything may take after the last of them; leases, retries and timers are over long before."""

SETTLE_S = 6

LEASE_US = 4_000_000


class Report(Struct, frozen=True, kw_only=True):
    """What came of a world. ``findings`` is empty if every promise was kept; ``trace`` sums up all that was written, and in what order."""

    seed: int
    faults: tuple[Fault, ...]
    findings: tuple[str, ...]
    commits: int
    runs: int
    lasted_s: float
    trace: int


def simulate(seed: int, faults: Sequence[Fault] | None = None) -> Report:
    """Give what comes of the world of that seed; with ``faults`` these happen in it instead of its own."""
    clock = VirtualClock()
    world = World(seed, clock, faults)
    context = copy_context()
    context.run(the_bank.set, world.bank)
    with _silent():
        try:
            context.run(run_virtually, clock, world.live())
        except NothingComes as error:
            world.auditor.object(str(error))
    return world.report()


class World:
    """``bank`` and ``auditor`` outlive what happens in it."""

    def __init__(self, seed: int, clock: VirtualClock, faults: Sequence[Fault] | None) -> None:
        chance = Random(f"world/{seed}")
        self.seed = seed
        self.clock = clock
        self.start_us = clock.now_us()
        self.bank = Bank()
        self.store = MemoryStore(partitions=chance.choice((1, 2, 2, 3, 4, 4, 6, 6)))
        self.auditor = Auditor(self.store)
        self.traffic = Traffic(self.store)
        self.traffic.on_commit = self._on_commit
        self.trace = 0
        slots = chance.randrange(1, 5)
        drawn = draw_faults(chance, slots=slots, until_us=TROUBLE_S * SECOND_US, lease_us=LEASE_US)
        self.faults: tuple[Fault, ...] = tuple(drawn if faults is None else faults)
        self._opens_s = [0.0, *(chance.choice((0.0, chance.uniform(0, TROUBLE_S))) for _ in range(slots - 1))]
        self._acts: list[tuple[Act, float]] = [(chance.choice(ACTS), chance.uniform(0, 12)) for _ in range(chance.randrange(3, 9))]
        # Small ones let runs leave memory as soon as they wait, and values lie beside the journal.
        self.limits = Limits(runs_idle_max=chance.choice((0, 2, 1_000)), payload_inline_max=chance.choice((8, 65_536)))
        self._slots: list[Process | None] = [None] * slots
        self._lives = 0
        self._outsider: Process

    def _on_commit(self, who: str, batch: Any, refused: Any) -> None:
        # Not the facts themselves: they name the source line that began it all, and so the caller of the simulation.
        rows = [(row.run, row.number, row.at_us) for row in batch.rows]
        self.trace = crc32(f"{who} {self.clock.now_us()} {rows} {batch.changes} {batch.consumed}".encode(), self.trace)
        self.auditor.see_commit(who, batch, refused)

    # What happens.

    async def live(self) -> None:
        """Faults come, then none; all that was asked for comes about; the auditor has looked at everything."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_trouble)
        self._outsider = self._process("client", is_client=True)
        await self._outsider.open()
        nodes = [asyncio.ensure_future(self._open_at(slot, after_s)) for slot, after_s in enumerate(self._opens_s)]
        clients = [asyncio.ensure_future(self._play(number, act, after_s)) for number, (act, after_s) in enumerate(self._acts)]
        faults = [asyncio.ensure_future(self._befall(fault)) for fault in self.faults]
        await asyncio.sleep(TROUBLE_S)
        await self._finish("faults", [*faults, *nodes])
        await self._calm()
        await self._finish("clients", clients)
        await asyncio.sleep(LEASE_US / SECOND_US)
        await self.auditor.see_silence(self._live_nodes(), self.clock.now_us())
        await self._finish(
            "sitters", [asyncio.ensure_future(self._wake(run)) for run in sorted(self.store._tables.runs) if "sitter-" in run]
        )
        await self._audit()
        await self._finish("closing", [asyncio.ensure_future(self._close(process)) for process in self._slots if process is not None])

    async def _finish(self, what: str, tasks: Sequence["asyncio.Task[None]"]) -> None:
        """They have ended in time, and well."""
        if not tasks:
            return
        done, late = await asyncio.wait(tasks, timeout=REST_S)
        for task in [task for task in tasks if task in done]:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.auditor.object(str(error) if isinstance(error, Broken) else f"{what}: {type(error).__name__}: {error}")
        if late:
            self.auditor.object(f"{len(late)} of the {what} had not ended {REST_S} s after the last fault")
            for problem in await self.auditor.open_runs():
                self.auditor.object(problem)

    def _on_loop_trouble(self, loop: asyncio.AbstractEventLoop, trouble: dict[str, Any]) -> None:
        if "handle" in trouble:
            self.auditor.object(f"a callback failed: {trouble.get('exception')!r} in {trouble['handle']}")

    async def _play(self, number: int, act: Act, after_s: float) -> None:
        await asyncio.sleep(after_s)
        name = f"{act.__name__.removeprefix('play_')}-{number}"
        await act(Client(name, self, Random(f"client/{self.seed}/{number}")))

    async def _wake(self, run: str) -> None:
        await wake_sitter(Client(run, self, Random(f"client/{self.seed}/{run}")), run)

    async def _audit(self) -> None:
        tools = Tools(Serializer((), (), self.limits.payload_bytes_max), self.limits)
        await self.auditor.see_all(REGISTRY.bound(), tools, self.clock.now_us())
        for problem in self.bank.problems():
            self.auditor.object(problem)
        for problem in await self.auditor.open_runs():
            self.auditor.object(f"not ended: {problem}")

    # Processes.

    def _process(self, name: str, *, is_client: bool = False) -> Process:
        self._lives += 1
        return Process(
            f"{name}.{self._lives}",
            self.traffic,
            self.clock,
            seed=f"{self.seed}/{name}",
            lease_us=LEASE_US,
            limits=self.limits,
            is_client=is_client,
        )

    async def _open_at(self, slot: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if self._slots[slot] is None:
            await self._open(slot)

    async def _open(self, slot: int) -> None:
        process = self._slots[slot] = self._process(f"node{slot}")
        await process.open()

    def pick(self, chance: Random) -> Process:
        """Give a process to ask: a node's that is there, or one that is none."""
        there = [process for process in self._slots if process is not None and not process.gone.done()]
        return chance.choice([*there, self._outsider])

    def _live_nodes(self) -> dict[int, Any]:
        nodes = [process.engine.node for process in self._slots if process is not None]
        return {node.epoch: node for node in nodes if node is not None}

    async def _close(self, process: Process) -> None:
        if not await process.close():
            raise Broken(f"{process.name} hangs on its way out")

    # Faults.

    async def _befall(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_us / SECOND_US)
        process = self._slots[fault.slot] if fault.slot < len(self._slots) else None
        if process is None or process.gone.done() or process.is_closing:
            return
        match fault.kind:
            case Kind.CRASH:
                process.die()
            case Kind.CLOSE:
                await self._close(process)
            case Kind.PAUSE:
                process.pause()
                await asyncio.sleep(fault.span_us / SECOND_US)
                process.resume()
                return
            case Kind.HINTS_LOST | Kind.HINTS_DOUBLED | Kind.HINTS_LATE | Kind.INBOX_TWICE:
                process.wire.troubles.add(fault.kind)
                await asyncio.sleep(fault.span_us / SECOND_US)
                process.wire.troubles.discard(fault.kind)
                return
            case _:
                process.wire.arm(fault)
                await asyncio.wait([process.gone], timeout=TROUBLE_S - fault.at_us / SECOND_US)
        await self._live_again(fault, process)

    async def _live_again(self, fault: Fault, process: Process) -> None:
        if process.gone.done():
            await asyncio.sleep(fault.span_us / SECOND_US)
            if self._slots[fault.slot] is process:
                await self._open(fault.slot)

    async def _calm(self) -> None:
        """No fault hits any more, and every process is there."""
        for process in self._slots:
            if process is not None:
                process.wire.faults.clear()
        await asyncio.sleep(SETTLE_S)  # A call that was hit before may still bring its process down.
        for slot, process in enumerate(self._slots):
            if process is not None and process.gone.done():
                await self._open(slot)

    def report(self) -> Report:
        """Give what came of it."""
        return Report(
            seed=self.seed,
            faults=self.faults,
            findings=tuple(self.auditor.findings),
            commits=self.auditor.commits,
            runs=len(self.store._tables.runs),
            lasted_s=(self.clock.now_us() - self.start_us) / SECOND_US,
            trace=self.trace,
        )


@contextmanager
def _silent() -> Iterator[None]:
    """Nodes that die on purpose need not say so."""
    logger = logging.getLogger("perdure")
    before, logger.disabled = logger.level, False
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


Simulate = Callable[[int, Sequence[Fault] | None], Report]
