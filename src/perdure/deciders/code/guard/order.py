"""Makes asyncio's own order the same in every process: it puts coroutines into a set, whose order is that of addresses."""

import asyncio
from asyncio import coroutines, events
from typing import Any

from perdure.deciders.code.loop import WorkflowLoop
from perdure.deciders.code.places import here


def install() -> None:
    """``set`` means `ordered_set` in ``asyncio.tasks``, where `asyncio.as_completed` uses it (3.11 to 3.14)."""
    asyncio.tasks.__dict__["set"] = ordered_set


def ordered_set(*args: Any) -> Any:
    """Give the set of what is given; of coroutines in a workflow, one in the order given."""
    loop = events._get_running_loop()
    if not args or type(loop) is not WorkflowLoop:
        return set(*args)
    members = dict.fromkeys(args[0])
    if not any(coroutines.iscoroutine(member) for member in members):
        return set(members)
    if isinstance(args[0], set | frozenset) and len(members) > 1:
        loop.run_context.forbid("a set of coroutines, which has another order each time,", "a list", here())
    return members.keys()
