"""An exception that is written down and read elsewhere: its own class where that can be rebuilt, its story in any case."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import Raw
from msgspec import json as msgspec_json

from perdure.model import errors
from perdure.model.failure import Failure, error_types, exception_of, failure_of


class Declined(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code

    def __str__(self) -> str:
        return f"declined with code {self.args[0]}: {self.args[1]}"


class Stubborn(Exception):
    """Does not take the arguments that it gives."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}", "and more")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Keyed(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


class Changing(Exception):
    """Says something else each time."""

    said = 0

    def __str__(self) -> str:
        Changing.said += 1
        return f"the {Changing.said}th word"


def travelled(error: BaseException) -> BaseException:
    """Raise it, so that it has a traceback; write it down as a journal does; read it."""
    try:
        raise error
    except BaseException as raised:
        written = msgspec_json.encode(failure_of(raised))
    return exception_of(msgspec_json.decode(written, type=Failure))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        KeyError(3),
        OSError(2, "No such file"),
        FileNotFoundError(2, "No such file", "/x"),
        ZeroDivisionError(),
        TimeoutError("late"),
        Declined(7, "no funds"),
        ValueError(1, 2.5, None, True, ["a", {"b": [1]}]),
        UnicodeError("odd"),
        json.JSONDecodeError("msg", "doc", 0),
    ],
    ids=repr,
)
def test_an_exception_that_rebuilds_comes_back_as_itself(error: Exception) -> None:
    found = travelled(error)
    assert type(found) is type(error)
    assert found.args == error.args
    assert str(found) == str(error)
    assert "Remote traceback" in found.__notes__[0]
    assert "in travelled" in found.__notes__[0]


@pytest.mark.parametrize(
    "error",
    [
        errors.RunNotFound(run="r"),
        errors.PayloadTooLarge(what="x", size=3, limit=2),
        errors.ActionTimedOut(message="attempt 1 took longer"),
        errors.InvalidValue("in other words", what="a", problem="b"),
    ],
    ids=repr,
)
def test_our_own_errors_come_back_with_their_fields(error: errors.PerdureError) -> None:
    found = travelled(error)
    assert type(found) is type(error)
    assert isinstance(found, errors.PerdureError)
    assert (str(found), found.fields) == (str(error), error.fields)


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (Stubborn(4), "Stubborn", "('code 4', 'and more')"),
        (Keyed(code=4), "Keyed", "code 4"),
        (Mute("x"), "Mute", "<the exception's own __str__ failed: RuntimeError>"),
        (ValueError(object), "ValueError", "<class 'object'>"),
        (ValueError(b"\xff"), "ValueError", "b'\\xff'"),
        (ValueError(float("nan")), "ValueError", "nan"),
        (Changing(), "Changing", None),
        (SystemExit(3), "SystemExit", "3"),
        (asyncio.CancelledError("x"), "CancelledError", "x"),
    ],
)
def test_one_that_does_not_rebuild_comes_back_as_what_failed_where(error: BaseException, name: str, message: str | None) -> None:
    found = travelled(error)
    if name == "Mute":
        # Without words of its own it is rebuilt: both say that they cannot say it.
        assert type(found) is Mute
        return
    assert type(found) is errors.ActionFailed
    assert found.fields["type"].endswith(f":{name}")
    assert message is None or str(found).endswith(f":{name}: {message}")
    assert "in travelled" in found.fields["traceback"]


def test_what_does_not_rebuild_stays_itself_on_a_second_journey() -> None:
    first = travelled(Keyed(code=4))
    second = travelled(first)
    assert type(second) is errors.ActionFailed
    assert str(second) == str(first)
    assert type(exception_of(failure_of(Keyed(code=4)), errors.RunFailed)) is errors.RunFailed


class Local:
    class Nested(Exception):
        pass


def test_a_nested_class_is_found_and_one_inside_a_function_is_not() -> None:
    class Hidden(Exception):
        pass

    assert type(travelled(Local.Nested("x"))) is Local.Nested
    assert type(travelled(Hidden("x"))) is errors.ActionFailed


def test_causes_travel_and_a_chain_without_end_is_cut() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        found = exception_of(failure_of(error))
    assert isinstance(found.__cause__, KeyError)
    assert found.__cause__.args == ("inner",)

    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    depth, failure = 0, failure_of(first)
    while failure.cause is not None:
        depth, failure = depth + 1, failure.cause
    assert depth == 5


def test_a_context_travels_unless_it_was_suppressed() -> None:
    def raised(*, quietly: bool) -> Failure:
        try:
            try:
                raise KeyError("inner")
            except KeyError:
                if quietly:
                    raise ValueError("outer") from None
                raise ValueError("outer")  # noqa: B904
        except ValueError as error:
            return failure_of(error)

    assert raised(quietly=True).cause is None
    assert (raised(quietly=False).cause or Failure("")).type == "builtins:KeyError"


def test_notes_travel() -> None:
    error = ValueError("x")
    error.add_note("while paying order 7")
    assert "while paying order 7" in "\n".join(travelled(error).__notes__)


def test_a_class_whose_module_is_not_loaded_yet_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_errors.py").write_text("class Late(Exception):\n    pass\n")
    (tmp_path / "broken_errors.py").write_text("raise RuntimeError('at import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = exception_of(Failure("late_errors:Late", "x", Raw(b'["x"]')))
    assert type(found) is sys.modules["late_errors"].Late
    for name in ("broken_errors:Late", "nowhere_at_all:Late", "late_errors:Other", "late_errors", "", ":", "os:getcwd", "builtins:int"):
        assert type(exception_of(Failure(name, "x", Raw(b'["x"]')))) is errors.ActionFailed
    monkeypatch.delitem(sys.modules, "late_errors")


@given(some.text(max_size=20), some.text(max_size=20), some.binary(max_size=20), some.text(max_size=20))
def test_whatever_a_failure_says_it_gives_an_exception(type: str, message: str, args: bytes, traceback: str) -> None:
    assert isinstance(exception_of(Failure(f"builtins:{type}", message, Raw(args), traceback)), Exception)


@given(some.recursive(some.none() | some.integers(-(2**63), 2**64 - 1) | some.text() | some.booleans(), some.lists, max_leaves=5))
def test_arguments_that_json_holds_come_back_exactly(argument: object) -> None:
    found = travelled(ValueError(argument))
    assert type(found) is ValueError
    assert found.args == (argument,)


def test_retry_policies_see_the_class_and_its_bases_most_specific_first() -> None:
    assert error_types(FileNotFoundError()) == (
        "builtins:FileNotFoundError",
        "builtins:OSError",
        "builtins:Exception",
        "builtins:BaseException",
    )


def test_text_with_halves_of_characters_as_names_of_files_have_can_be_written_down() -> None:
    error = OSError(2, "gone", "caf\udce9")
    error.add_note("near \udce9")
    error.__cause__ = errors.ActionFailed(type="Error", message="\udce9", traceback="\udce9")
    failure = failure_of(error)
    assert failure.message == "[Errno 2] gone: 'caf\\udce9'"
    assert type(travelled(error)) is errors.ActionFailed
    assert msgspec_json.decode(msgspec_json.encode(failure), type=Failure) == failure
