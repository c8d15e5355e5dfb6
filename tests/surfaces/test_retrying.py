"""Retries by hand and standalone tasks, from the command line, beside a service on the same file."""

from pathlib import Path

import pytest

from tests.surfaces.processes import Shell


def _flags(served: Shell) -> Path:
    return served.folder


@pytest.mark.covers("I20")
def test_failed_runs_go_on_once_their_worker_is_mended(served: Shell) -> None:
    flag = _flags(served) / "mended-1"
    for id in ("r1", "r2"):
        served.ok("start", "shop.py:cropped", str(flag), "--id", id)
        assert served.run("result", id).code == 1
    refused = served.run("retry", "--failed", "--type", "double")
    assert (refused.code, refused.out) == (0, "")
    flag.write_text("now")
    said = served.ok("retry", "--failed", "--type", "crop")
    assert sorted(said.splitlines()) == ["Run r1 is retried.", "Run r2 is retried."]
    assert served.ok("result", "r1") == '"2 cropped 4"'
    assert served.ok("result", "r2") == '"2 cropped 4"'
    again = served.run("retry", "r1")
    assert (again.code, "it is completed" in again.err) == (4, True)
    steps = served.run("show", "r1", "--json").json()["steps"]
    assert [(step["name"], step["state"], len(step["tries"])) for step in steps] == [
        ("double", "done", 1),
        ("crop", "done", 2),
        ("double", "done", 1),
    ]
    assert [tried["sequence"] for tried in steps[1]["tries"]] == [1, 2]


def test_a_retry_of_one_call_and_a_refusal_say_so(served: Shell) -> None:
    flag = _flags(served) / "mended-2"
    served.ok("start", "shop.py:cropped", str(flag), "--id", "r3")
    assert served.run("result", "r3").code == 1
    wrong = served.run("retry", "r3", "--call", "9")
    assert (wrong.code, "no call '9' has failed in it" in wrong.err) == (4, True)
    assert served.run("retry").code == 2
    flag.write_text("now")
    assert served.ok("retry", "r3", "--call", "2") == "Run r3 is retried: 2."
    assert served.ok("result", "r3") == '"2 cropped 4"'


@pytest.mark.covers("I16")
def test_a_task_is_dispatched_retried_with_new_input_and_listed(served: Shell) -> None:
    flag = _flags(served) / "mended-3"
    assert served.ok("task", "dispatch", "shop.py:double", "21", "--id", "t1") == "t1"
    assert served.ok("result", "t1") == "42"
    served.ok("task", "dispatch", "shop.py:crop", str(flag), "--id", "t2")
    assert served.run("result", "t2").code == 1
    other = _flags(served) / "there"
    other.write_text("yes")
    wrong = served.run("task", "retry", "t2", "--input", "[1]")
    assert (wrong.code, "crop" in wrong.err) == (2, True)
    assert served.ok("task", "retry", "t2", "--input", str(other)) == "Task t2 is retried."
    assert served.ok("result", "t2") == '"cropped"'
    tasks = served.run("task", "list", "--json").json()
    assert {"t1", "t2"} <= {row["id"] for row in tasks}
    assert "crop" in served.ok("task", "show", "t2")
    served.ok("start", "shop.py:doubled", "1", "--id", "no-task")
    assert served.run("task", "show", "no-task").code == 3


@pytest.mark.covers("I16")
def test_a_task_is_cancelled_or_given_its_output(served: Shell) -> None:
    for id in ("t3", "t4"):
        served.ok("task", "dispatch", "shop.py:asked", "why?", "--id", id)
    assert served.ok("task", "cancel", "t3") == "Task t3 is asked to end."
    assert served.run("result", "t3").code == 6
    wrong = served.run("task", "cancel", "t4", "--output", "many")
    assert (wrong.code, "Expected `int`" in wrong.err) == (2, True)
    assert served.ok("task", "cancel", "t4", "--output", "12") == "Task t4 is completed."
    assert served.ok("result", "t4") == "12"
    assert served.run("task", "cancel", "t4").code == 4


def test_a_task_that_is_waited_for_needs_no_service(shell: Shell) -> None:
    assert shell.ok("task", "dispatch", "shop.py:double", "4", "--wait") == "8"
    missing = shell.run("task", "dispatch", "shop.py:nothing")
    assert (missing.code, "has no action 'nothing'" in missing.err) == (3, True)
