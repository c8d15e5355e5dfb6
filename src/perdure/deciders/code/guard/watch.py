"""The last net: every call that the code makes is looked at, whatever name it was made by."""

import sys
from types import FrameType, TracebackType
from typing import Any

from perdure.deciders.code.guard.audit import refuse
from perdure.deciders.code.guard.effects import CALLS, FUNCTIONS, instead_of_call, instead_of_function, name_of_owner


class Watch:
    """Entered around each run of a workflow's code. Stands back where another profiler is at work: there can be one in a thread."""

    def __enter__(self) -> None:
        if sys.getprofile() is None:
            sys.setprofile(_on_call)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if sys.getprofile() is _on_call:
            sys.setprofile(None)


def _on_call(frame: FrameType, event: str, called: Any) -> None:
    """An error raised here comes out of the call, which is not made. The interpreter then ends the watch; the run is stalled anyway."""
    if event == "c_call":
        if called.__name__ in CALLS:
            _look_at(frame, called)
    elif event == "call" and frame.f_code.co_name in FUNCTIONS:
        _look_into(frame)


def _look_at(frame: FrameType, called: Any) -> None:
    instead, owner = instead_of_call(called), called.__self__
    if instead is not None and owner is not sys.stdout and owner is not sys.stderr:
        refuse(f"{name_of_owner(owner)}.{called.__name__}()", instead, frame)


def _look_into(frame: FrameType) -> None:
    code = frame.f_code
    if code not in FUNCTIONS[code.co_name]:
        return
    first = frame.f_locals.get(code.co_varnames[1]) if code.co_argcount > 1 else None
    instead = instead_of_function(code, first)
    if instead is not None:
        refuse(f"{frame.f_globals.get('__name__')}.{code.co_qualname}()", instead, frame)
