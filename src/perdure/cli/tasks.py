"""``perdure task``: runs that are one call of an action."""

import logging
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from perdure import Action, Engine
from perdure.cli.asking import Keyword, Output
from perdure.cli.connection import PatientPlace, Place, ask, run_loop
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.listing import list_runs
from perdure.cli.loading import action_in, load, split_target
from perdure.cli.showing import show
from perdure.cli.values import keywords_of, value_of, values_of
from perdure.cli.waiting import tell_end, wait_for_end
from perdure.config import settings
from perdure.insight import row_of
from perdure.model.ids import call_key
from perdure.model.run import Status
from perdure.model.task import TASK_CALL, TASK_NAME

_PLACE = Place()
_PATIENT = PatientPlace()


def dispatch(
    target: str,
    /,
    *args: str,
    arg: Keyword = None,
    id: Annotated[str | None, Parameter(help="Names the task. Dispatched again with the same input, it is the same task.")] = None,
    tag: Annotated[list[str] | None, Parameter(negative="", show_default=False, help="A tag of the task; may be repeated.")] = None,
    wait: Annotated[bool, Parameter(negative="", show_default=False, help="Wait for the result and print it.")] = False,
    output: Output = None,
    place: Place = _PLACE,
) -> Exit:
    """Start a run that is one call of an action, and print its id.

    Parameters
    ----------
    target
        The file, or the module, and the action in it: shop.py:charge.
    args
        JSON, or plain text where it is not JSON. After --, arguments may begin with a dash.
    """
    file, name = split_target(target)
    values, keywords = values_of(args), keywords_of(arg or [])
    action = action_in(load([file])[0], name, file)
    logging.getLogger("perdure").setLevel(logging.ERROR)
    told = {"task_id": id, "task_tags": tag or ()}
    return run_loop(lambda: _dispatch(action, values, {**keywords, **told}, place, waits=wait, output=output))


async def _dispatch(
    action: Action[..., Any], values: list[Any], keywords: dict[str, Any], place: Place, *, waits: bool, output: str | None
) -> Exit:
    async with Engine(place.url, namespace=place.namespace, is_client=not waits, drain=settings().drain) as engine:
        run = await engine.dispatch(action, *values, **keywords)
        print(run.id, file=sys.stderr if waits else sys.stdout, flush=True)
        if not waits:
            return Exit.OK
        await wait_for_end(engine, run)
        return await tell_end(engine, engine.get(run.id), output=output)


def retry_task(
    id: str,
    /,
    *,
    input: Annotated[
        list[str] | None, Parameter(negative="", show_default=False, help="An argument in place of the old ones; may be repeated.")
    ] = None,
    arg: Keyword = None,
    place: PatientPlace = _PATIENT,
) -> None:
    """Make a failed task again, with all attempts of its policy; with --input or --arg, with these arguments and no others.

    Parameters
    ----------
    id
        The task.
    """
    args = None if input is None else values_of(input)
    kwargs = None if arg is None else keywords_of(arg)

    async def work(engine: Engine) -> None:
        await _require_task(engine, id)
        calls = await engine.get(id).retry(args=args, kwargs=kwargs)
        print(f"Task {id} is retried." if calls else f"Task {id} is being retried already.")

    ask(place, work)


def cancel_task(
    id: str,
    /,
    *,
    output: Annotated[str | None, Parameter(help="The task ends as completed, with this value: JSON, or plain text.")] = None,
    reason: Annotated[str, Parameter(help="Why; the journal keeps it.")] = "",
    place: PatientPlace = _PATIENT,
) -> None:
    """End a task: as cancelled, or with --output as completed with that value, which must be of the action's type.

    Parameters
    ----------
    id
        The task.
    """

    async def work(engine: Engine) -> None:
        base = await _require_task(engine, id)
        if output is not None:
            await engine.complete(call_key(engine.get(id).id, base, TASK_CALL), value_of(output))
            print(f"Task {id} is completed.")
        elif await engine.get(id).cancel(reason):
            print(f"Task {id} is asked to end.")
        else:
            raise CommandEnds(Exit.CONFLICT, f"perdure: task {id} has ended already ({await engine.get(id).status()}).")

    ask(place, work)


async def _require_task(engine: Engine, id: str) -> int:
    """Give the base of the task's run; a run that is no task is left alone."""
    row = await row_of(engine.store, engine.get(id).id)
    if row.definition != TASK_NAME:
        raise CommandEnds(Exit.NOT_FOUND, f"perdure: run {id} is no task but a run of {row.definition}; see perdure retry, perdure cancel")
    return row.base


def list_tasks(
    *,
    status: Annotated[Status | None, Parameter(help="Only tasks of this status.")] = None,
    tag: Annotated[str | None, Parameter(help="Only tasks with this tag.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.")] = 50,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")] = False,
    place: Place = _PLACE,
) -> None:
    """List standalone tasks, newest first."""
    list_runs(status=status, tag=tag, definition=TASK_NAME, limit=limit, json=json, place=place)


def show_task(
    id: str,
    /,
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")] = False,
    place: Place = _PLACE,
) -> None:
    """Draw the timeline of a task.

    Parameters
    ----------
    id
        The task.
    """

    ask(place, lambda engine: _require_task(engine, id))
    show(id, json=json, place=place)
