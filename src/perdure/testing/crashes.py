"""Crashes a workflow everywhere, and tells where it did not do what it does undisturbed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec.structs import replace

from perdure.deciders.code.authoring import HasRun, Workflow
from perdure.deciders.code.definition import Registry
from perdure.model.duration import Span, instant_us, span_us
from perdure.model.limits import Limits
from perdure.testing.cases import UNDISTURBED, cases
from perdure.testing.clock import START
from perdure.testing.env import Environment
from perdure.testing.report import CrashFailure, Report
from perdure.testing.trial import ENDED, Channel, Scenario, Sending, Trace, try_case

logger = logging.getLogger("perdure.testing")

AnyWorkflow = Workflow[..., Any] | type[HasRun[..., Any]]
When = int | str | timedelta


def crash_everywhere(workflow: AnyWorkflow, *args: Any, **options: Any) -> Report:
    """Run the workflow once undisturbed, then again and again with something going wrong; gives a `Report`, true if nothing differed.

    It is crashed right before and right after every commit, and after all of them; every outcome, message and signal comes twice; it is
    replayed from nothing at every transition; it is restarted whenever it waits; commits are slow. In each case result, status, the
    outcome of every call and ``effects()`` must be the same, no call with a recorded outcome may be made again, and nothing may happen
    before it is durable. ``assert crash_everywhere(order, "o-1")`` reads well. It runs on a loop of its own, also inside a test that
    has one; inside a coroutine prefer `explore_crashes`, which takes the same options and uses the loop that runs:

    ``kwargs``: keyword arguments of the workflow. ``signals``: ``(channel, value, when)`` to send, in this order; ``when`` is the number
    of journal rows the undisturbed run has by then, or a span such as ``"2d"`` after the start; an `Update` as channel makes an update,
    `CANCEL` a cancel. ``advance``: how far time may be moved to reach the end. ``when_idle``: awaited with the `Environment` when only the
    outside can move the run, for instance to complete an open call. ``when_failed``: the same when all has ended and the run has failed,
    for instance to mend something and to call ``run.retry()``. ``before`` puts the outside world back before each case, and
    ``effects`` gives what there is to compare of it. ``limit``: single crashes to try, chosen with ``seed`` where there are more.
    ``shuffle``: outcomes of actions that run at the same time arrive in an order drawn with ``seed``. ``registry``, ``limits``: of the
    engine.

    Actions that race each other without ``asyncio.sleep`` have no defined winner; a result that depends on one may be reported, and with
    ``shuffle`` it is.
    """
    explore = partial(explore_crashes, workflow, *args, **options)
    # A thread of its own: it works whether or not a loop runs in this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(explore())).result()


async def explore_crashes(
    workflow: AnyWorkflow,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    signals: Sequence[tuple[Channel, Any, When]] = (),
    advance: Span = "366d",
    when_idle: Callable[[Environment], Awaitable[object]] | None = None,
    when_failed: Callable[[Environment], Awaitable[object]] | None = None,
    before: Callable[[], object] = lambda: None,
    effects: Callable[[], Any] = lambda: None,
    limit: int = 300,
    seed: int = 0,
    shuffle: bool = False,
    registry: Registry | None = None,
    limits: Limits | None = None,
) -> Report:
    """As `crash_everywhere`, in the loop that runs."""
    scenario = Scenario(
        workflow=workflow,
        args=args,
        kwargs=kwargs or {},
        horizon_us=span_us(advance),
        registry=registry,
        limits=limits or Limits(),
        when_idle=when_idle,
        when_failed=when_failed,
        before=before,
        effects=effects,
        seed=seed,
        is_shuffled=shuffle,
    )
    return await _explore(scenario, [_sending(number, *entry) for number, entry in enumerate(signals, 1)], limit)


def _sending(number: int, channel: Channel, value: Any, when: When) -> Sending:
    if isinstance(when, int):
        return Sending(channel, value, f"signal-{number}", transition=when)
    return Sending(channel, value, f"signal-{number}", at_us=instant_us(START) + span_us(when))


async def _explore(scenario: Scenario, sendings: Sequence[Sending], limit: int) -> Report:
    name = scenario.workflow.definition.name
    expected = await try_case(scenario, UNDISTURBED, sendings)
    if expected.problems:
        failure = CrashFailure(UNDISTURBED.name, 0, tuple(expected.problems), expected.journal)
        return _told(Report(name, 1, expected.commits, (failure,)))
    tried = cases(expected.commits, limit=limit, seed=scenario.seed)
    failures = []
    for case in tried:
        # The instants at which things were sent are known now: they are the same in every case.
        again = [replace(sending, task=None, is_sent=False, answer=None) for sending in sendings]
        found = await try_case(scenario, case, again)
        problems = (*found.problems, *_differences(expected, found))
        if problems:
            failures.append(CrashFailure(case.name, case.size, problems, found.journal))
    failures.sort(key=lambda failure: (failure.size, failure.case))
    return _told(Report(name, len(tried) + 1, expected.commits, tuple(failures)))


def _told(report: Report) -> Report:
    """A test runner shows the log of a failed test in full, and of a failed assertion a line."""
    if not report:
        logger.error("%s", report)
    return report


def _differences(expected: Trace, found: Trace) -> Iterator[str]:
    yield from _different("the run", expected.ends, found.ends)
    yield from _different("the call", expected.outcomes, found.outcomes)
    if any(before != now and now != ENDED for before, now in zip(expected.answers, found.answers, strict=True)):
        yield f"the answers were {expected.answers} and are now {found.answers}"
    if expected.effects != found.effects:
        yield f"the effects were {expected.effects!r} and are now {found.effects!r}"


def _different(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(expected.keys() | found.keys()):
        before, now = expected.get(key), found.get(key)
        if before != now:
            yield f"{what} {key} was {_words(before)} and is now {_words(now)}"


def _words(value: Any) -> str:
    return "not there" if value is None else " ".join(str(part) for part in value)
