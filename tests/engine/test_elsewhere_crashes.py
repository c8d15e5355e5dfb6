"""Attempts elsewhere, on virtual time: the node dies at any commit meanwhile, and what workers say is lost, late or doubled.

Whatever happens, no run hangs and each call has one outcome.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from perdure import Engine, Registry, Retry, Status, continue_as_new, elsewhere, workflow
from perdure.insight.journal import entries
from perdure.model import fact as facts
from perdure.model.call import Outcome
from perdure.model.failure import Failure
from perdure.model.ids import RunId
from perdure.model.payload import Content
from perdure.ports.transport import Delivery, calls_address
from perdure.remote.reporting import StoreReporter
from perdure.stores.memory import MemoryStore
from perdure.testing import VirtualClock
from perdure.testing.clock import VirtualEntropy
from perdure.testing.faults import FaultyStore
from perdure.testing.simulation.loop import run_virtually
from perdure.transports.database import DatabaseTransport
from perdure.wire.attempts import held, wire_outcome
from perdure.wire.encoding import decode, encode
from perdure.wire.messages import VERSION, Announce, AnnouncedAction, Beat, Call

here = Registry()
RUN = RunId("r")
ENDS = (facts.ActionCompleted, facts.ActionFailed)
double = elsewhere("double", returns=int)
shaky = elsewhere("shaky", returns=int, retry=Retry(first="3s", attempts=3))


@workflow(registry=here, name="elsewhere_rounds")
async def rounds(number: int) -> int:
    unwanted = asyncio.create_task(double(100))
    found = list(await asyncio.gather(double(number), double(2), shaky(3)))
    unwanted.cancel()
    await asyncio.sleep(2)
    if number < 2:
        asyncio.create_task(double(50))  # noqa: RUF006 - it is under way when the next incarnation begins
        await asyncio.sleep(1)
        continue_as_new(number + 1)
    return sum(found) + await double(1)


class Crew:
    """Workers with bad luck, drawn from a seed."""

    def __init__(self, store: MemoryStore, clock: VirtualClock, seed: int) -> None:
        self._random = Random(seed)
        self._transport = DatabaseTransport(store, clock)
        self._reporter = StoreReporter(store, clock, inline_max=1_000)
        self._held: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: Counter[str] = Counter()
        self.performed: Counter[str] = Counter()

    async def open(self) -> None:
        actions = [AnnouncedAction(name=name) for name in ("double", "shaky")]
        announce = Announce(v=VERSION, worker="crew", host="h", started_ms=0, interval_ms=3_000, slots=8, actions=actions)
        await self._reporter.take([announce])
        await self._transport.open()
        for action in actions:
            await self._transport.handle(calls_address(action.queue, action.name, action.version), self._take, slots=8)
        self._spawn(self._beat())

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self._transport.close()

    async def _beat(self) -> None:
        while True:
            if self._random.random() < 0.9:
                beat = Beat(v=VERSION, worker="crew", attempts=[held(id) for id in sorted(self._held)], is_whole=True, sent_ms=0)
                await self._reporter.take([beat])
            await asyncio.sleep(3)

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            call = decode(delivery.packet.body)
            assert isinstance(call, Call)
            await delivery.ack()
            self.performed[call.key] += 1
            self._spawn(self._perform(call))

    async def _perform(self, call: Call) -> None:
        """Lost on the way, lost with the worker, late, doubled, or as it should be."""
        fate = self._random.choice(["well", "well", "well", "twice", "late", "deaf", "lost"])
        if fate in ("late", "deaf", "lost") and self._lost[call.key]:
            fate = "twice"
        self._lost[call.key] += fate in ("late", "deaf", "lost")
        if fate == "deaf":
            return
        self._held.add(call.id)
        await asyncio.sleep(self._random.choice([0, 0.3, 4, 15]))
        self._held.discard(call.id)
        if fate == "lost":
            return
        if fate == "late":
            await asyncio.sleep(self._random.choice([5, 14, 30]))
        for _ in range(2 if fate == "twice" else 1):
            await self._reporter.take([wire_outcome(call.id, self._outcome(call), worker="crew")])
            await asyncio.sleep(self._random.choice([0, 0.1, 8]))

    def _outcome(self, call: Call) -> Outcome:
        if call.action == "shaky" and call.attempt == 1:
            return Outcome(failure=Failure("builtins:ValueError", "not yet"), error_types=("builtins:ValueError",))
        number = int(encode(call).decode().partition('"args":[')[2].partition("]")[0])
        return Outcome(Content("json", str(2 * number).encode()))


class World:
    def __init__(self, seed: int, *, before: int = 0, after: int = 0) -> None:
        self.clock = VirtualClock()
        self.inner = MemoryStore()
        self.store = FaultyStore(self.inner, crash_before={before}, crash_after={after})
        self.crew = Crew(self.inner, self.clock, seed)
        self.lives = 0

    async def play(self) -> int:
        """The run ends; gives its result."""
        await self.crew.open()
        engine, asking = await self._engine()
        row, ended_us = None, 0
        # What comes late finds a run that has ended.
        while not ended_us or self.clock.now_us() < ended_us + 60_000_000:
            await asyncio.sleep(0.5)
            row = await self.inner.row(RUN)
            if row is not None and row.status.is_final:
                ended_us = ended_us or self.clock.now_us()
            assert self.clock.now_us() < self._end_us, f"it hangs: {await engine.get(RUN).why()}"
            if self.store.is_down:
                await engine.crash()
                self.store.break_lease()
                asking.cancel()
                engine, asking = await self._engine()
        result = await engine.get(RUN).result()
        assert not await self.inner.addressed(range(self.inner.traits.partitions), 10)
        asking.cancel()
        await engine.close()
        await self.crew.close()
        assert row is not None
        assert row.status is Status.COMPLETED
        found = [entry.fact async for entry in entries(self.inner, RUN, row.base - 1)]
        counted = Counter(fact.call for fact in found if isinstance(fact, ENDS))
        assert set(counted.values()) == {1}
        return result

    async def _engine(self) -> "tuple[Engine, asyncio.Future[object]]":
        self.lives += 1
        self._end_us = self.clock.now_us() + 1_000_000_000
        engine = Engine(
            self.store, registry=here, clock=self.clock, entropy=VirtualEntropy(self.lives), lease="10s", drain="0s", name=f"n{self.lives}"
        )
        await engine.open()
        asking: asyncio.Future[object] = asyncio.ensure_future(engine.start(rounds.options(id="r"), 1))
        return engine, asking


def play(seed: int, *, before: int = 0, after: int = 0) -> World:
    world = World(seed, before=before, after=after)
    assert run_virtually(world.clock, world.play()) == 4 + 4 + 6 + 2
    return world


@pytest.mark.covers("G4")
@pytest.mark.parametrize("seed", range(20))
def test_outcomes_that_are_lost_late_or_doubled_end_each_call_once(seed: int) -> None:
    assert all(play(seed).crew.performed.values())


@pytest.mark.covers("G4")
@pytest.mark.covers("G9")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_node_that_dies_at_any_commit_while_attempts_are_elsewhere_leaves_nothing_hanging(seed: int, when: str) -> None:
    commits = play(seed).store.commits
    for number in range(1, commits + 1):
        world = play(seed, **{when: number})
        assert world.lives == 2 or world.store.commits < number


def test_late_words_to_a_run_that_has_ended_are_read_once_while_the_store_cannot_take_their_end() -> None:
    """Seed 1 has two of them lying in one inbox while no commit returns."""
    assert play(1, before=22).lives == 2
