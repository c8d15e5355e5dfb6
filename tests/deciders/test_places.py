"""Whose line is shown where a workflow stands."""

from types import SimpleNamespace
from typing import Any

from perdure.bench.workflows import chain
from perdure.deciders.code import loop
from perdure.deciders.code.places import line_of


def frame_in(code: Any) -> Any:
    """Give what ``line_of`` looks at, as if the code were running and nobody had called it."""
    return SimpleNamespace(f_code=code, f_lineno=code.co_firstlineno, f_back=None)


def test_the_workflows_of_programs_that_ship_with_the_package_are_named_like_those_of_users() -> None:
    code: Any = chain.definition.entry.__code__  # type: ignore[attr-defined]
    assert line_of(frame_in(code)) == f"bench/workflows.py:{code.co_firstlineno}"


def test_the_engines_own_lines_are_never_named() -> None:
    assert line_of(frame_in(loop.WorkflowLoop.run_in_executor.__code__)) == ""
