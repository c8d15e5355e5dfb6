"""The first net: what the interpreter itself reports. It costs a tenth of a microsecond for an event that is none of ours."""

from asyncio import events
from collections.abc import Sequence
from types import FrameType
from typing import Any

from perdure.deciders.code.guard.blame import blame
from perdure.deciders.code.guard.effects import EVENTS
from perdure.deciders.code.loop import WorkflowLoop
from perdure.deciders.code.places import frame_above


def on_event(event: str, args: Sequence[Any]) -> None:
    """Stop a workflow that does what cannot be replayed; everything else passes."""
    if event in EVENTS and type(events._get_running_loop()) is WorkflowLoop:
        refuse(_title(event, args), EVENTS[event], frame_above(1))


def refuse(what: str, instead: str, frame: FrameType | None) -> None:
    """Stall the run whose code led to ``frame``, unless it is permitted or nobody is to blame."""
    loop = events._get_running_loop()
    if type(loop) is not WorkflowLoop or loop.run_context.is_permitted:
        return
    found = blame(frame)
    if found is not None:
        loop.run_context.forbid(f"{found.called} ({what})" if found.called else what, instead, found.line)


def _title(event: str, args: Sequence[Any]) -> str:
    if event == "open":
        return f"open({args[0]!r})" if args else "open()"
    name = event.partition("/")[0]
    return f"{name.removesuffix('.__new__').removeprefix('_').removeprefix('builtins.')}()"
