"""``perdure start``: a new run."""

import logging
import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from perdure import Engine, Workflow
from perdure.cli.asking import Keyword, Output
from perdure.cli.connection import Place, run_loop
from perdure.cli.exits import Exit
from perdure.cli.loading import load, split_target, workflow_in
from perdure.cli.values import keywords_of, values_of
from perdure.cli.waiting import tell_end, wait_for_end
from perdure.config import settings

_PLACE = Place()


def start(
    target: str,
    /,
    *args: str,
    arg: Keyword = None,
    id: Annotated[str | None, Parameter(help="Names the run. Started again with the same input, it is the same run.")] = None,
    tag: Annotated[list[str] | None, Parameter(negative="", show_default=False, help="A tag of the run; may be repeated.")] = None,
    version: Annotated[int | None, Parameter(help="Version of the workflow. Default: the newest.")] = None,
    on_ended: Annotated[
        Literal["return", "refuse", "restart"] | None, Parameter(help="What to do if a run of that id has ended. Default: return it.")
    ] = None,
    wait: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Wait for the result and print it. Where no engine has the store, this command is it."
        ),
    ] = False,
    output: Output = None,
    place: Place = _PLACE,
) -> Exit:
    """Start a run and print its id. Without --wait a node has to be there sooner or later: perdure serve FILE.

    Parameters
    ----------
    target
        The file, or the module, and the workflow in it: flows.py:thumbnails.
    args
        JSON, or plain text where it is not JSON. After --, arguments may begin with a dash.
    """
    file, name = split_target(target)
    values, keywords = values_of(args), keywords_of(arg or [])
    workflow = workflow_in(load([file])[0], name, file).options(id=id, tags=tag, version=version, on_ended=on_ended)
    logging.getLogger("perdure").setLevel(logging.ERROR)
    return run_loop(lambda: _start(workflow, values, keywords, place, waits=wait, output=output))


async def _start(
    workflow: Workflow[..., Any], values: list[Any], keywords: dict[str, Any], place: Place, *, waits: bool, output: str | None
) -> Exit:
    async with Engine(place.url, namespace=place.namespace, is_client=not waits, drain=settings().drain) as engine:
        run = await engine.start(workflow, *values, **keywords)
        print(run.id, file=sys.stderr if waits else sys.stdout, flush=True)
        if not waits:
            return Exit.OK
        await wait_for_end(engine, run)
        return await tell_end(engine, engine.get(run.id), output=output)
