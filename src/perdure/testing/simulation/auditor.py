"""Looks at every commit of a world at its instant, and at all that is stored when the world has come to rest.

It takes nothing on the engine's word: what it knows of runs, calls and messages it has read in the journals itself.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from perdure.deciders.decider import Tools
from perdure.engine.runs.live import LiveRun, Phase
from perdure.engine.runs.loader import Loader
from perdure.insight import why
from perdure.model import fact as facts
from perdure.model.fact import AnyFact, decode_facts
from perdure.model.ids import RunId
from perdure.model.run import HELD, RunRow, Status, Transition
from perdure.ports.definitions import Definitions
from perdure.ports.store import Batch, RunQuery
from perdure.stores.memory import MemoryStore

FINDINGS_MAX = 20
LATE_US = 5_000_000
"""How long something may be due, or lie in an inbox, before that is called silence."""

_LAST: Mapping[type, Status] = {
    facts.RunCompleted: Status.COMPLETED,
    facts.RunFailed: Status.FAILED,
    facts.RunCancelled: Status.CANCELLED,
}
_OUTCOMES = (
    facts.ActionCompleted,
    facts.ActionFailed,
    facts.ChildCompleted,
    facts.ChildFailed,
    facts.CallCancelled,
    facts.TimerFired,
    facts.TimerCancelled,
    facts.SignalTaken,
)
_OPENINGS = (facts.ActionScheduled, facts.ChildStarted, facts.TimerStarted, facts.SignalAwaited)


class Known(Struct):
    """What the auditor has read of a run. ``open``: what it waits for, by call; ``taken``: ids of signals and updates that it took in."""

    number: int = 0
    partition: int = 0
    open: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    last: AnyFact | None = None


class Auditor:
    """``findings`` are sentences, in the order in which they arose; ``commits``: how many of nodes it saw."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._runs: dict[RunId, Known] = {}
        self.findings: list[str] = []
        self.commits = 0

    def object(self, sentence: str) -> None:
        if sentence not in self.findings and len(self.findings) < FINDINGS_MAX:
            self.findings.append(sentence)

    # At every commit.

    def see_commit(self, who: str, batch: Batch, refused: Mapping[RunId, RunRow]) -> None:
        """The batch has just been written."""
        for row in batch.starts:
            if row.id not in refused:
                self._runs[row.id] = Known(partition=row.partition)
        if batch.epoch is None:
            return
        self.commits += 1
        self._see_holder(who, batch, refused)
        for transition in batch.rows:
            if transition.run not in refused:
                self._see_row(who, transition)

    def _see_holder(self, who: str, batch: Batch, refused: Mapping[RunId, RunRow]) -> None:
        """At no instant do two nodes write for one run: whoever writes holds its partition (G1)."""
        holders = self._store._seats._holders
        touched = [row.run for row in batch.rows] + [change.id for change in batch.changes] + [row.id for row in batch.starts]
        for run in dict.fromkeys([*touched, *(run for run, _ in batch.consumed)]):
            known = self._runs.get(run)
            if known is not None and run not in refused and holders[known.partition] != batch.epoch:
                holder = holders[known.partition]
                self.object(f"{who} with epoch {batch.epoch} wrote for {run}, whose partition {known.partition} is held by {holder}")

    def _see_row(self, who: str, row: Transition) -> None:
        known = self._runs.get(row.run)
        if known is None:
            self.object(f"{who} wrote row {row.number} of {row.run}, which nobody started")
            return
        if row.number != known.number + 1:
            self.object(f"{who} wrote row {row.number} of {row.run} after row {known.number}")
        if type(known.last) in _LAST:
            self.object(f"{who} wrote row {row.number} of {row.run}, which had ended")
        known.number = row.number
        for fact in decode_facts(row.facts):
            self._see_fact(row, known, fact)
            known.last = fact

    def _see_fact(self, row: Transition, known: Known, fact: AnyFact) -> None:
        match fact:
            case facts.RunStarted():
                if known.last is not None and not isinstance(known.last, facts.RunContinued):
                    self.object(f"{row.run} begins in row {row.number}, after {type(known.last).__name__}")
                known.open.clear()
            case facts.SignalReceived() | facts.UpdateAccepted():
                if fact.id in known.taken:
                    self.object(f"{row.run} took {type(fact).__name__} {fact.id} twice, the second time in row {row.number}")
                known.taken.add(fact.id)
            case facts.SignalTaken():
                known.open.discard(fact.call)
            case _ if isinstance(fact, _OPENINGS):
                known.open.add(fact.call)
            case _ if isinstance(fact, _OUTCOMES):
                if fact.call not in known.open:
                    self.object(f"{row.run} has a second outcome of its call {fact.call}, {type(fact).__name__} in row {row.number}")
                known.open.discard(fact.call)
            case _:
                pass

    # At the end.

    async def see_all(self, definitions: Definitions, tools: Tools, now_us: int) -> None:
        """Every journal has no gap, agrees with its row, and can be replayed."""
        for row in await self._rows():
            known = self._runs.get(row.id)
            if known is None:
                self.object(f"{row.id} is there, and nobody started it")
                continue
            wanted = _LAST.get(type(known.last))
            if (wanted or Status.RUNNING) != row.status and (wanted is not None or row.status.is_final):
                self.object(f"{row.id} is {row.status}, and its journal ends with {type(known.last).__name__}")
            await self._see_journal(row, known)
            await self._replay(row, definitions, tools)

    async def _rows(self) -> list[RunRow]:
        return await self._store.find(RunQuery(limit=1_000_000))

    async def _see_journal(self, row: RunRow, known: Known) -> None:
        numbers = [entry.number for entry in await self._store.transitions(row.id, 0, 1_000_000)]
        if numbers != list(range(row.base, known.number + 1)):
            self.object(f"{row.id} with base {row.base} has the journal rows {numbers}, and {known.number} were written")

    async def _replay(self, row: RunRow, definitions: Definitions, tools: Tools) -> None:
        loader = Loader(self._store, definitions, tools)
        journals, blobs = await loader.read([row.id], {row.partition})
        fresh = LiveRun(row, Phase.LOADING)
        try:
            loader.restore(fresh, journals[0], blobs)
            self._see_wake(row, fresh)
        except Exception as error:
            self.object(f"the journal of {row.id} cannot be replayed: {type(error).__name__}: {error}")
        finally:
            fresh.drop_mind()

    def _see_wake(self, row: RunRow, fresh: LiveRun) -> None:
        """What the row says of its next wake follows from the journal (G3); one that is held says nothing of it."""
        if row.status is Status.WAITING and row.wake_us != HELD and row.wake_us != fresh.ledger.next_us() and row.reason is None:
            self.object(f"{row.id} is to wake at {row.wake_us}, and its journal says {fresh.ledger.next_us()}")

    async def see_silence(self, live: Mapping[int, Any], now_us: int) -> None:
        """Every open run has a due timer, a live lease with the run in that node's memory, or an outside wait (G9).

        ``live`` gives the node of each epoch.
        """
        for row in await self._rows():
            if not row.status.is_final:
                problem = await self._silence(row, live.get(self._store._seats._holders[row.partition] or 0), now_us)
                if problem is not None:
                    self.object(f"{row.id} ({row.definition}) is silent: it is {row.status}, {problem}")

    async def _silence(self, row: RunRow, node: Any, now_us: int) -> str | None:
        if node is None:
            return f"and nobody alive holds its partition {row.partition}"
        if row.status is Status.STALLED:
            return f"because {row.reason}"
        loaded = (await self._store.load([row.id]))[0]
        if loaded.inbox and loaded.inbox[0].at_us < now_us - LATE_US:
            return f"and {loaded.inbox[0].id} has lain in its inbox for {(now_us - loaded.inbox[0].at_us) // 1_000_000} s"
        if row.wake_us == HELD:
            run = node.roster.get(row.id)
            if run is None:
                return "held by a node that does not know it"
            is_moving = run.performances or run.arrivals or run.is_committing or run.ledger.next_us() is not None
            return None if is_moving or not run.ledger.calls else "held by a node that does nothing for it"
        if row.wake_us is not None:
            return None if row.wake_us > now_us - LATE_US else f"and was due {(now_us - row.wake_us) // 1_000_000} s ago"
        return None if await why(self._store, row.id) else "and waits for nothing"

    async def open_runs(self) -> list[str]:
        """Say of each open run what it waits for."""
        found = []
        for row in await self._rows():
            if not row.status.is_final:
                reasons = "; ".join(str(reason) for reason in await why(self._store, row.id))
                found.append(f"{row.id} ({row.definition}) is {row.status}, wake {row.wake_us}, partition {row.partition}: {reasons}")
        return found
