"""What the auditors say after such a storm: of the journals, of each call's outcome, and of the log of effects."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from perdure.app.stores import open_store
from perdure.insight.audit import Audit
from perdure.model import fact as facts
from perdure.model.fact import AnyFact, decode_facts
from perdure.model.ids import RunId
from perdure.ports.store import Loaded, RunQuery, Store
from tests.torture.books import Books, Row, RunEntry
from tests.torture.journal_audit import audit_journals

PAGE = 500


class Effect(Struct, frozen=True):
    """A line of the log: an attempt, by its id, was begun or done by that process."""

    stage: str
    attempt: str
    number: int
    by: int
    at_ms: int = 0


class Findings(Struct):
    """``dropped``: attempts that were done and are not the one that their call's outcome tells of."""

    complaints: list[str] = field(default_factory=list)
    runs: int = 0
    calls: int = 0
    lost: int = 0
    dropped: int = 0

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.calls} calls, {self.lost} attempts lost, {self.dropped} outcomes dropped"


async def audit(url: str, told: Path, effects: Path) -> Findings:
    """Give what is wrong with the books."""
    store = open_store(url)
    await store.open()
    try:
        production = Audit(store)
        complaints = [f"perdure audit: {fault.run}: {fault.rule.value}: {fault.text}" async for fault in production.faults()]
        loaded = [found async for found in _all(store)]
    finally:
        await store.close()
    return judge(loaded, told.read_text().split(), read_effects(effects), complaints)


async def _all(store: Store) -> Any:
    last: tuple[int, RunId] | None = None
    while rows := await store.find(RunQuery(after=last, is_oldest_first=True, limit=PAGE)):
        for found in await store.load([row.id for row in rows]):
            yield found
        last = (rows[-1].created_us, rows[-1].id)


def read_effects(file: Path) -> list[Effect]:
    """Open the log of effects."""
    return [Effect(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def judge(loaded: Sequence[Loaded], told: Sequence[str], effects: Sequence[Effect], complaints: Sequence[str] = ()) -> Findings:
    """Give what is wrong, given all runs, the ids of those that were acknowledged, and what was done."""
    findings = Findings(list(complaints), runs=len(loaded))
    findings.complaints += audit_journals(_books(loaded))
    known = {found.row.id for found in loaded}
    findings.complaints += [f"{run}: its start was acknowledged, and there is no such run" for run in told if run not in known]
    findings.complaints += [
        f"{found.row.id}: it should have completed and is {found.row.status}" for found in loaded if found.row.status != "completed"
    ]
    begun: dict[str, set[int]] = defaultdict(set)
    done = Counter[str]()
    for effect in effects:
        if effect.stage == "begun":
            begun[effect.attempt].add(effect.by)
        else:
            done[effect.attempt] += 1
    recorded = 0
    for found in loaded:
        entries = [fact for row in found.transitions for fact in decode_facts(row.facts)]
        findings.lost += sum(isinstance(fact, facts.AttemptLost) for fact in entries)
        outcomes = [fact for fact in entries if isinstance(fact, facts.ActionCompleted)]
        findings.calls += sum(isinstance(fact, facts.ActionScheduled) for fact in entries)
        recorded += len(outcomes)
        findings.complaints += [f"{found.row.id}: {complaint}" for complaint in _attempts(found, entries, begun, done)]
    findings.dropped = sum(done.values()) - recorded
    return findings


def _books(loaded: Sequence[Loaded]) -> Books:
    books = Books()
    for found in loaded:
        row = found.row
        books.runs[row.id] = RunEntry(row.id, row.definition, row.status.value, row.wake_us, row.base, has_mail=bool(found.inbox))
        books.journals[row.id] = [Row(entry.number, entry.at_us, list(decode_facts(entry.facts))) for entry in found.transitions]
    return books


def _attempts(found: Loaded, entries: Sequence[AnyFact], begun: dict[str, set[int]], done: Counter[str]) -> Iterator[str]:
    """Each attempt that the journal tells of was made, each outcome is one that somebody said, and no attempt failed twice."""
    for fact in entries:
        if isinstance(fact, facts.ActionCompleted):
            id = f"{found.row.id}#{found.row.base}#{fact.call}~1.{fact.attempt}"
            if not done[id]:
                yield f"call {fact.call} is said to have been done by attempt {fact.attempt}, which nobody has done"
            yield from _said(fact, id, begun)
        if isinstance(fact, facts.AttemptFailed):
            id = f"{found.row.id}#{found.row.base}#{fact.call}~1.{fact.attempt}"
            if id not in begun:
                yield f"attempt {fact.attempt} of call {fact.call} is said to have failed, and nobody has begun it"
    ends = Counter((fact.call, fact.attempt) for fact in entries if isinstance(fact, facts.AttemptFailed | facts.AttemptLost))
    yield from (f"attempt {attempt} of call {call} ended {count} times" for (call, attempt), count in ends.items() if count > 1)


def _said(fact: facts.ActionCompleted, id: str, begun: dict[str, set[int]]) -> Iterator[str]:
    value = msgspec.json.decode(fact.value.json) if isinstance(fact.value.json, msgspec.Raw) else None
    if isinstance(value, dict) and (value["attempt"] != id or value["by"] not in begun[id]):
        yield f"the outcome of {id} is what {value['by']} said of {value['attempt']}; begun by {sorted(begun[id])}"
