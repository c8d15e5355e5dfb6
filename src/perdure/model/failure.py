"""An error as a value: how user code failed, in a form that can be written down and raised again elsewhere."""

import contextlib
import importlib
import sys
import traceback
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from perdure.model import errors


class Failure(Struct, frozen=True, omit_defaults=True):
    """An exception at rest.

    ``type`` is ``module:QualName``; ``args`` are the exception's arguments as a JSON list, unset where they are not plain values;
    ``traceback`` is the remote text; ``cause`` the chained failure; ``notes`` what was added to it, its earlier journeys included.
    ``is_final`` tells that no retry policy applies.
    """

    type: str
    message: str = ""
    args: Raw | UnsetType = UNSET
    traceback: str = ""
    cause: "Failure | None" = None
    is_final: bool = False
    notes: tuple[str, ...] = ()


_REMOTE = "Remote traceback (most recent call last):"
_NOTES_MAX = 10
_TRACEBACK_FRAMES_MAX = 20
_CAUSES_MAX = 5


def failure_of(error: BaseException, *, is_final: bool = False, depth: int = 0) -> Failure:
    """Write an exception down, with its causes. Never raises: what cannot be written is left out."""
    chained = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = None if chained is None or depth >= _CAUSES_MAX else failure_of(chained, depth=depth + 1)
    if isinstance(error, errors.ActionFailed) and type(error) is errors.ActionFailed:
        return _remote_failure(error, cause, is_final)
    return Failure(
        type=f"{type(error).__module__}:{type(error).__qualname__}",
        message=_writable(_text(error)),
        args=_plain_args(error),
        traceback=_writable("".join(traceback.format_tb(error.__traceback__, _TRACEBACK_FRAMES_MAX))),
        cause=cause,
        is_final=is_final,
        notes=_notes(error),
    )


def _notes(error: BaseException) -> tuple[str, ...]:
    notes = getattr(error, "__notes__", ())
    return tuple(_writable(note) for note in notes if isinstance(note, str))[-_NOTES_MAX:] if isinstance(notes, list) else ()


def _remote_failure(error: errors.ActionFailed, cause: Failure | None, is_final: bool) -> Failure:
    fields = error.fields
    return Failure(
        type=str(fields.get("type", "")),
        message=_writable(str(fields.get("message", ""))),
        traceback=_writable(str(fields.get("traceback", ""))),
        cause=cause,
        is_final=is_final,
        notes=tuple(note for note in _notes(error) if not note.startswith(_REMOTE)),
    )


def _writable(text: str) -> str:
    """Text of the operating system, such as the name of a file, may hold halves of characters, which no UTF-8 has."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"<the exception's own __str__ failed: {type(second).__name__}>"


def _plain_args(error: BaseException) -> Raw | UnsetType:
    try:
        args = (str(error), error.fields) if isinstance(error, errors.PerdureError) else _making_args(error)
        encoded = msgspec.json.encode(args)
        return Raw(encoded) if msgspec.json.decode(encoded) == _listed(args) else UNSET
    except Exception:
        # Arguments that do not survive the way through JSON are left out: the exception then comes back as ActionFailed.
        return UNSET


def _making_args(error: BaseException) -> tuple[Any, ...]:
    """What it is made of again: more than ``args`` where a class says so, as ``OSError`` does of its file name."""
    made: Any = error.__reduce__()
    match made:
        case (kind, tuple() as args, *_) if kind is type(error):
            return args
        case _:
            return error.args


def _listed(args: Any) -> Any:
    return [_listed(entry) if isinstance(entry, tuple) else entry for entry in args] if isinstance(args, tuple) else args


def exception_of(failure: Failure, fallback: type[errors.PerdureError] = errors.ActionFailed) -> BaseException:
    """Give the exception: its own class where that is loaded and rebuilds from its arguments to the same message, else ``fallback``."""
    error = _rebuilt(failure)
    if error is None:
        error = fallback(type=failure.type, message=failure.message, traceback=failure.traceback)
    for note in failure.notes:
        error.add_note(note)
    if failure.traceback:
        error.add_note(f"{_REMOTE}\n{failure.traceback.rstrip()}")
    if failure.cause is not None:
        error.__cause__ = exception_of(failure.cause)
    return error


def _rebuilt(failure: Failure) -> BaseException | None:
    # Without arguments nothing is rebuilt, and so nothing imported: the name may come from a stranger.
    found = None if failure.args is UNSET else _class_of(failure.type)
    if found is None or failure.args is UNSET:
        return None
    try:
        args = msgspec.json.decode(failure.args)
        error: BaseException = found(args[0], **args[1]) if issubclass(found, errors.PerdureError) else found(*args)
        return error if _text(error) == failure.message else None
    except Exception:
        # A class that refuses its own arguments cannot be rebuilt; the caller falls back.
        return None


def _class_of(type_name: str) -> type[BaseException] | None:
    """The module is imported if need be, so that a replay in a fresh process catches what the first execution caught."""
    module_name, _, qualname = type_name.partition(":")
    if module_name not in sys.modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module_name)
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def error_types(error: BaseException) -> tuple[str, ...]:
    """Name the error's class and its bases, most specific first, as retry policies do."""
    return tuple(f"{entry.__module__}:{entry.__qualname__}" for entry in type(error).__mro__ if issubclass(entry, BaseException))
