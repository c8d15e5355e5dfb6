"""One trial of a workflow: it is driven to its end on virtual time, through whatever the case has in store for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from perdure.client.run import Run
from perdure.deciders.code.authoring import Signal, Update
from perdure.deciders.code.definition import Registry
from perdure.insight import last_word
from perdure.model import fact as facts
from perdure.model.duration import instant
from perdure.model.errors import EngineClosed, PerdureError, RunEnded
from perdure.model.fact import as_json, decode_facts
from perdure.model.ids import RunId
from perdure.model.limits import Limits
from perdure.model.payload import Content, content_of
from perdure.model.run import RunRow, Status
from perdure.ports.store import RunQuery
from perdure.testing.cases import Case
from perdure.testing.disturbance import TrialEnvironment
from perdure.testing.env import Environment

ROOT = RunId("crashed")
STEPS_MAX = 100_000
ENDED = "the run had ended"
"""Instead of an answer: the client asked again, of a run that had ended with what was asked before."""


class Cancel:
    """Stands for a channel in ``signals``: the run is cancelled, with the value as the reason."""


CANCEL = Cancel()

Channel = Signal[Any] | str | Update[..., Any] | Cancel


class Sending(Struct):
    """Something to send. ``transition``: once the run has that many journal rows; ``at_us``: or at that instant, when it is known."""

    channel: Channel
    value: Any
    id: str
    transition: int | None = None
    at_us: int | None = None
    task: "asyncio.Task[Any] | None" = None
    is_sent: bool = False
    answer: str | None = None


class Scenario(Struct, frozen=True, kw_only=True):
    """What is tried, the same in every case."""

    workflow: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    horizon_us: int
    registry: Registry | None
    limits: Limits
    when_idle: Callable[[Environment], Awaitable[object]] | None
    when_failed: Callable[[Environment], Awaitable[object]] | None
    before: Callable[[], object]
    effects: Callable[[], Any]
    seed: int
    is_shuffled: bool


class Trace(Struct):
    """What came of a trial. ``ends``: by run, its definition, status and last word; ``outcomes``: by call, action and outcome."""

    ends: dict[str, tuple[str, str, str]]
    outcomes: dict[str, tuple[str, str | None]]
    answers: list[str | None]
    effects: Any
    problems: list[str]
    commits: int
    journal: tuple[str, ...]


async def try_case(scenario: Scenario, case: Case, sendings: Sequence[Sending]) -> Trace:
    """Drive the workflow to its end, or to where nothing moves it any more. Fills in the instants of the sendings."""
    scenario.before()
    env = TrialEnvironment(case, registry=scenario.registry, limits=scenario.limits, seed=scenario.seed, is_shuffled=scenario.is_shuffled)
    async with env:
        trial = _Trial(env, scenario, case, sendings)
        try:
            await trial.drive()
        except Exception as error:
            env.problems.append(f"the engine raised {type(error).__name__}: {error}")
        finally:
            await env.kill()
        return await trial.trace()


class _Trial:
    def __init__(self, env: TrialEnvironment, scenario: Scenario, case: Case, sendings: Sequence[Sending]) -> None:
        self.env = env
        self.scenario = scenario
        self.case = case
        self.sendings = sendings
        self.start: asyncio.Task[Any] | None = None
        self.end_us = env.clock.now_us() + scenario.horizon_us
        self.restarted_at = 0

    async def drive(self) -> None:
        for _ in range(STEPS_MAX):
            if not await self._step():
                return
        self.env.problems.append(f"the run was still busy after {STEPS_MAX} steps")

    async def _step(self) -> bool:
        """One thing happened and settled; ``False`` if nothing is left to happen."""
        env = self.env
        await env.settle()
        if env.faulty.is_down:
            await env.kill()
            await env.revive()
            return True
        if env.engine.node is None:
            env.problems.append("the node stopped by itself")
            return False
        return (
            await self._begin()
            or await self._send_due()
            or await self._restart()
            or await self._move_time()
            or await self._ask_outside()
            or await self._mend()
        )

    async def _begin(self) -> bool:
        """The run is started, and again if a crash came before it was durable: clients do so (G5)."""
        if await self.env.store.row(ROOT) is not None:
            return False
        if self.start is not None and self.start.done() and not self.start.cancelled() and self.start.exception() is not None:
            error = self.start.exception()
            if not isinstance(error, EngineClosed):
                self.env.problems.append(f"the start was refused: {error}")
                raise RuntimeError("no run") from error
        workflow = self.scenario.workflow.options(id=ROOT)
        for _ in range(2 if self.case.is_doubled else 1):
            self.start = asyncio.ensure_future(self.env.engine.start(workflow, *self.scenario.args, **self.scenario.kwargs))
            self.start.add_done_callback(_look_at)
        await self.env.settle()
        return True

    async def _send_due(self) -> bool:
        row_count = len(await self.env.store.transitions(ROOT, 0, 1_000_000))
        for sending in self.sendings:
            if sending.is_sent:
                if not self._collect(sending):
                    continue
            elif not self._is_due(sending, row_count):
                return False
            await self._send(sending)
            return True
        return False

    def _is_due(self, sending: Sending, row_count: int) -> bool:
        if sending.at_us is not None:
            return sending.at_us <= self.env.clock.now_us()
        return row_count >= (sending.transition or 0)

    async def _send(self, sending: Sending) -> None:
        sending.is_sent = True
        if sending.at_us is None:
            sending.at_us = self.env.clock.now_us()
        run = self.env.engine.get(ROOT)
        for _ in range(2 if self.case.is_doubled else 1):
            sending.task = asyncio.ensure_future(_sent(run, sending))
            sending.task.add_done_callback(_look_at)
        await self.env.settle()

    def _collect(self, sending: Sending) -> bool:
        """Tell whether it must be sent again: its engine died before it answered."""
        task = sending.task
        if task is None or not task.done():
            return False
        sending.task = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, EngineClosed):
            return True
        channel: Any = sending.channel
        if isinstance(channel, Update):
            # Only updates have an answer. That a signal was lost on the way, or came after the end, shows in what came of the run.
            sending.answer = str(task.result()) if error is None else f"{type(error).__name__}: {error}"
        return False

    async def _restart(self) -> bool:
        if not self.case.is_restarting or self.restarted_at == self.env.faulty.commits:
            return False
        await self.env.restart()
        self.restarted_at = self.env.faulty.commits
        return True

    async def _move_time(self) -> bool:
        if not await self._open_runs():
            return False
        env = self.env
        waiting = [sending.at_us for sending in self.sendings if not sending.is_sent and sending.at_us is not None]
        dues = [due for due in (env._next_us(), *waiting) if due is not None]
        if not dues or min(dues) > self.end_us:
            return await self._send_early()
        env.clock.move_to(min(dues))
        return True

    async def _send_early(self) -> bool:
        """Nothing else moves the run: it gets the next thing that was to be sent, even if its turn has not come."""
        for sending in self.sendings:
            if not sending.is_sent:
                await self._send(sending)
                return True
        return False

    async def _ask_outside(self) -> bool:
        if self.scenario.when_idle is None or not await self._open_runs():
            return False
        before = self.env.faulty.commits
        await self.scenario.when_idle(self.env)
        await self.env.settle()
        return self.env.faulty.commits > before or self.env.faulty.is_down

    async def _mend(self) -> bool:
        """The root has failed, and the outside does something about it; asked again if its engine dies before it answers."""
        row = await self.env.store.row(ROOT)
        if self.scenario.when_failed is None or row is None or row.status is not Status.FAILED:
            return False
        before = self.env.faulty.commits
        mending = asyncio.ensure_future(self.scenario.when_failed(self.env))
        mending.add_done_callback(_look_at)
        await self.env.settle()
        if mending.done() and not mending.cancelled() and not isinstance(mending.exception(), EngineClosed | None):
            self.env.problems.append(f"what was to mend the run raised {mending.exception()!r}")
            return False
        return self.env.faulty.commits > before or self.env.faulty.is_down

    async def _open_runs(self) -> list[RunRow]:
        rows = await self.env.store.find(RunQuery(limit=100_000))
        return [row for row in rows if not row.status.is_final]

    async def trace(self) -> Trace:
        env = self.env
        rows = await env.store.find(RunQuery(limit=100_000))
        for row in rows:
            if not row.status.is_final:
                env.problems.append(await self._why_open(row))
        return Trace(
            ends={env.book.alias(row.id): (row.definition, row.status.value, await self._last_word(row)) for row in rows},
            outcomes=env.book.outcomes(),
            answers=[sending.answer for sending in self.sendings],
            effects=self.scenario.effects(),
            problems=[*env.book.objections, *env.problems],
            commits=env.faulty.commits,
            journal=tuple(await self._journal()),
        )

    async def _why_open(self, row: RunRow) -> str:
        found = f"the run {row.id} has not ended: it is {row.status} at {self.env.now:%Y-%m-%d %H:%M:%S}, and nothing moves it"
        return f"{found}; {row.reason}" if row.reason else found

    async def _last_word(self, row: RunRow) -> str:
        if row.status is Status.STALLED or not row.status.is_final:
            return row.reason or ""
        try:
            fact, data = await last_word(self.env.store, row.id)
        except PerdureError as error:
            return str(error)
        match fact:
            case facts.RunCompleted():
                blobs = await self.env.store.blobs([fact.value.blob]) if fact.value.blob else {}
                return _text(content_of(fact.value, data, blobs))
            case facts.RunFailed():
                return f"{fact.error.type}: {fact.error.message}"
            case _:
                return fact.reason

    async def _journal(self) -> list[str]:
        lines = []
        for row in await self.env.store.transitions(ROOT, 0, 1_000_000):
            names = [_line(as_json(fact)) for fact in decode_facts(row.facts)]
            lines.append(f"{row.number:3} {instant(row.at_us):%d %H:%M:%S} {', '.join(names)}")
        return lines if len(lines) <= 40 else [*lines[:20], "…", *lines[-20:]]


def _line(fact: dict[str, Any]) -> str:
    words = [str(fact.get("fact"))]
    words += [str(fact[name]) for name in ("call", "action", "channel", "definition", "attempt", "reason") if name in fact]
    return " ".join(words)


def _text(content: Content) -> str:
    return f"{content.codec} {content.data[:300]!r}" + (f" … {len(content.data)} bytes" if len(content.data) > 300 else "")


async def _sent(run: Run[Any], sending: Sending) -> Any:
    channel: Any = sending.channel
    value = sending.value
    try:
        if isinstance(channel, Cancel):
            return await run.cancel(value or "")
        if isinstance(channel, Update):
            return await run.update(channel, *(value if isinstance(value, tuple) else (value,)), update_id=sending.id)
        return await run.send(channel, value, id=sending.id)
    except RunEnded:
        return ENDED


def _look_at(task: "asyncio.Task[Any]") -> None:
    """Its error is read later or never; asyncio need not complain."""
    if not task.cancelled():
        task.exception()
