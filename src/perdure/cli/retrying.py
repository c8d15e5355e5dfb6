"""``perdure retry``: failed calls are made again."""

from typing import Annotated

from cyclopts import Parameter

from perdure import Engine
from perdure.cli.connection import PatientPlace, ask
from perdure.cli.exits import CommandEnds, Exit
from perdure.model.errors import NotRetryable
from perdure.model.run import Status

_PLACE = PatientPlace()


def retry(
    *ids: str,
    failed: Annotated[bool, Parameter(negative="", show_default=False, help="All failed runs, instead of those named.")] = False,
    type: Annotated[str | None, Parameter(help="Only failed calls of this action.")] = None,
    call: Annotated[str | None, Parameter(help="Only the call of this name, as perdure show tells it.")] = None,
    definition: Annotated[str | None, Parameter(help="With --failed: only runs of this workflow.")] = None,
    tag: Annotated[str | None, Parameter(help="With --failed: only runs with this tag.")] = None,
    place: PatientPlace = _PLACE,
) -> Exit:
    """Make failed calls again, with all attempts of their policy. A run that failed because of one is reopened and goes on.

    Parameters
    ----------
    ids
        The runs.
    """
    if failed == bool(ids) or (failed and call is not None):
        raise CommandEnds(Exit.USAGE, "perdure: name runs, or give --failed for all that have failed; --call belongs to a named run")

    async def work(engine: Engine) -> Exit:
        refused: list[str] = []
        if failed:
            told = await engine.retry(
                status=Status.FAILED, action=type, definition=definition, tag=tag, on_refused=lambda _, error: refused.append(str(error))
            )
            for run in told:
                print(f"Run {run} is retried.")
            # Under an action's name most runs have nothing to do with it; that is no news.
            if type is not None:
                refused = [text for text in refused if "has failed in it" not in text]
        else:
            for id in ids:
                try:
                    calls = await engine.get(id).retry(call, action=type)
                except NotRetryable as error:
                    refused.append(str(error))
                else:
                    print(f"Run {id} is retried: {', '.join(calls)}." if calls else f"Run {id} is being retried already.")
        if refused:
            raise CommandEnds(Exit.CONFLICT, "\n".join(f"perdure: {text}" for text in refused))
        return Exit.OK

    return ask(place, work)
