"""Who did it: from the frame of a forbidden call to the author's line, or to the reason why nobody is to blame."""

import os
import sys
import sysconfig
from functools import cache
from types import CodeType, FrameType

from msgspec import Struct

from perdure.deciders.code.context import RunContext
from perdure.deciders.code.loop import WorkflowLoop
from perdure.deciders.code.places import line_of

_STANDARD = os.path.dirname(os.__file__) + os.sep
_PACKAGES = tuple({sysconfig.get_path("purelib") + os.sep, sysconfig.get_path("platlib") + os.sep})
_OURS = os.path.dirname(sys.modules["perdure"].__file__ or "") + os.sep

# Whatever these do, they do it about the code and not for it: importing, logging, reporting, debugging, finalising. A codec's work shows in
# the bytes of the store, never in what the code sees.
_MACHINERY = frozenset(
    {"importlib", "zipimport", "logging", "structlog", "loguru", "warnings", "linecache", "traceback", "tokenize"}
    | {"pdb", "bdb", "cmd", "pydevd", "debugpy", "coverage", "weakref"}
)
_MACHINERY_FOLDERS = ("<frozen importlib", "<frozen zipimport")
_CODEC = "perdure.model.codec"
_EDGES: tuple[CodeType, ...] = (WorkflowLoop._run_ready.__code__, WorkflowLoop.close.__code__, RunContext.read.__code__)


class Blame(Struct, frozen=True):
    """The author's line as ``file:line``, and the library function called there, empty if the line itself did it."""

    line: str
    called: str


def blame(frame: FrameType | None) -> Blame | None:
    """Give the place in the author's code that led to ``frame``; ``None`` if machinery did, or nothing of the author's is running."""
    chosen: Blame | None = None
    is_certain, inner = False, None
    while frame is not None and frame.f_code not in _EDGES:
        if _is_machinery(frame):
            return None
        origin = _origin(frame.f_code.co_filename)
        if not is_certain and (origin == "author" or (origin == "package" and chosen is None)):
            chosen, is_certain = Blame(line_of(frame), _name(inner)), origin == "author"
        inner, frame = frame, frame.f_back
    return chosen


def _is_machinery(frame: FrameType) -> bool:
    code, module = frame.f_code, frame.f_globals.get("__name__") or ""
    if code.co_name == "__del__" or code.co_filename.startswith(_MACHINERY_FOLDERS):
        return True
    return module == _CODEC or module.partition(".")[0] in _MACHINERY


@cache
def _origin(path: str) -> str:
    """Tell whose file it is: ``library`` (the standard one, or ours), an installed ``package``, or the ``author``'s."""
    if path.startswith(_PACKAGES):
        return "package"
    return "library" if path.startswith((_STANDARD, _OURS, "<frozen ")) else "author"


def _name(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    module = frame.f_globals.get("__name__") or "?"
    return f"{module}.{frame.f_code.co_qualname}()"
