"""Source lines of user code, as ``file:line``."""

import os
import sys
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

_PACKAGE = str(Path(__file__).parents[2]) + os.sep
_STANDARD = os.path.dirname(os.__file__) + os.sep + "asyncio" + os.sep
_NOT_USERS = (_PACKAGE, _STANDARD, "<frozen")
_PROGRAMS = (_PACKAGE + "demo" + os.sep, _PACKAGE + "bench" + os.sep)
"""These ship with the package and are written as its users write: their lines are shown, and cost no more to find than anyone's."""
_DEPTH_MAX = 60

frame_above = sys._getframe
"""``frame_above(0)`` is the frame of the caller, ``frame_above(1)`` that of the caller's caller."""


def line_of(frame: FrameType | None) -> str:
    """Name the innermost line of user code at or above ``frame``; empty if there is none."""
    for _ in range(_DEPTH_MAX):
        if frame is None:
            return ""
        line = _line(frame.f_code.co_filename, frame.f_lineno)
        if line:
            return line
        frame = frame.f_back
    return ""


def here() -> str:
    """Name the user's line that is running."""
    return line_of(frame_above(1))


# Asked once for every step. The keys are the path and the number because the hash of a code object is worked out anew each time.
@cache
def _line(path: str, number: int) -> str:
    """Shorten a path to its last two parts, which are the same on every host; empty for our own and asyncio's files."""
    is_ours = path.startswith(_NOT_USERS) and not path.startswith(_PROGRAMS)
    return "" if is_ours else f"{_short(path)}:{number}"


def _short(path: str) -> str:
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def code_line(code: CodeType) -> str:
    """Name the line where a function is declared."""
    return f"{_short(code.co_filename)}:{code.co_firstlineno}"
