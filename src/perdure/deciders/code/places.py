"""Source lines of user code, as ``file:line``."""

import os
import sys
from pathlib import Path
from types import CodeType, FrameType

_PACKAGE = str(Path(__file__).parents[2]) + os.sep
_STANDARD = os.path.dirname(os.__file__) + os.sep + "asyncio" + os.sep
_DEPTH_MAX = 60

_names: dict[CodeType, str] = {}
_lines: dict[tuple[CodeType, int], str] = {}


def line_of(frame: FrameType | None) -> str:
    """Name the innermost line of user code at or above ``frame``; empty if there is none."""
    for _ in range(_DEPTH_MAX):
        if frame is None:
            return ""
        code = frame.f_code
        name = _names.get(code)
        if name is None:
            name = _names[code] = _file_name(code)
        if name:
            key = (code, frame.f_lineno)
            line = _lines.get(key)
            if line is None:
                line = _lines[key] = f"{name}:{frame.f_lineno}"
            return line
        frame = frame.f_back
    return ""


def here() -> str:
    """Name the user's line that is running."""
    return line_of(sys._getframe(1))


def _file_name(code: CodeType) -> str:
    """Shorten a path to its last two parts, which are the same on every host; empty for our own and asyncio's files."""
    path = code.co_filename
    if path.startswith((_PACKAGE, _STANDARD)) or path.startswith("<frozen"):
        return ""
    parts = path.replace("\\", "/").split("/")
    return "/".join(parts[-2:])


def code_line(code: CodeType) -> str:
    """Name the line where a function is declared."""
    parts = code.co_filename.replace("\\", "/").split("/")
    return f"{'/'.join(parts[-2:])}:{code.co_firstlineno}"
