"""``perdure serve``: what it runs, what it says, and how it ends."""

import signal
import sqlite3
from pathlib import Path

import pytest

from tests.surfaces.processes import Shell


def test_a_run_started_beside_a_service_is_run_by_it_and_logged(shell: Shell) -> None:
    service = shell.serve("shop.py")
    line = service.line("serving")
    assert "doubled" in line
    assert "sqlite:///perdure.db" in line
    shell.ok("start", "shop.py:doubled", "4", "--id", "four")
    service.line("run four (doubled) started")
    service.line("run four (doubled) completed in")
    shell.ok("start", "shop.py:broken", "no room", "--id", "bad")
    service.line("run bad (broken) failed after")
    assert "OutOfStock: no room" in service.said[-1]
    assert shell.ok("result", "four") == "8"


def test_a_run_started_before_any_service_is_run_by_the_first(shell: Shell) -> None:
    shell.ok("start", "shop.py:doubled", "4", "--id", "early")
    assert "node" in shell.ok("why", "early")
    shell.serve("shop.py")
    assert shell.ok("result", "early") == "8"


@pytest.mark.covers("I37")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_told_to_stop_ends_the_work_under_way_first(shell: Shell, number: signal.Signals) -> None:
    gate = shell.gate()
    service = shell.serve("shop.py")
    shell.ok("start", "shop.py:through_gate", str(gate), "--id", "slow")
    service.line("at work, attempt 1")
    service.send(number)
    service.line("draining: 1 attempt")
    gate.write_text("through")
    assert service.end() == 0
    assert service.said[-1].endswith("stopped")
    facts = [entry["fact"] for entry in shell.run("show", "slow", "--json").json()["journal"]]
    assert "ActionCompleted" in facts
    again = shell.serve("shop.py")
    assert shell.ok("result", "slow") == '"through"'
    assert not [line for line in again.said if "at work" in line]


def test_a_second_signal_stops_at_once_and_the_work_is_made_again(shell: Shell) -> None:
    gate = shell.gate()
    service = shell.serve("shop.py")
    shell.ok("start", "shop.py:through_gate", str(gate), "--id", "slow")
    service.line("at work, attempt 1")
    service.send(signal.SIGTERM)
    service.line("draining")
    service.send(signal.SIGTERM)
    assert service.end() == 128 + signal.SIGTERM
    assert "stopped at once" in service.said[-1]
    _finish_again(shell, gate)


def test_work_that_outlasts_the_drain_is_left_and_the_exit_code_says_so(shell: Shell) -> None:
    gate = shell.gate()
    service = shell.serve("shop.py", "--drain", "20ms")
    shell.ok("start", "shop.py:through_gate", str(gate), "--id", "slow")
    service.line("at work, attempt 1")
    service.send(signal.SIGTERM)
    assert service.end() == 5
    assert "stopped with 1 attempt under way" in service.said[-1]
    _finish_again(shell, gate)


@pytest.mark.covers("I3")
def test_a_run_finishes_after_its_service_was_killed(shell: Shell) -> None:
    gate = shell.gate()
    service = shell.serve("shop.py")
    shell.ok("start", "shop.py:through_gate", str(gate), "--id", "slow")
    service.line("at work, attempt 1")
    service.kill()
    assert "attempt 1 of gated" in shell.ok("why", "slow")
    _finish_again(shell, gate)
    assert "its node died" in shell.ok("show", "slow")


def _finish_again(shell: Shell, gate: Path) -> None:
    service = shell.serve("shop.py")
    service.line("at work, attempt 2")
    gate.write_text("late")
    assert shell.ok("result", "slow") == '"late"'


def test_of_two_services_one_stands_by_and_takes_over(shell: Shell) -> None:
    gate = shell.gate()
    first = shell.serve("shop.py", "--name", "first")
    first.line("serving")
    second = shell.serve("shop.py", "--name", "second")
    second.line("standby: another engine has sqlite:///perdure.db")
    shell.ok("start", "shop.py:through_gate", str(gate), "--id", "slow")
    first.line("at work, attempt 1")
    first.kill()
    second.line("serving")
    second.line("at work, attempt 2")
    gate.write_text("over")
    second.line("run slow (through_gate) completed")
    assert shell.ok("result", "slow") == '"over"'


def test_a_standby_takes_over_from_a_service_that_drained(shell: Shell) -> None:
    first = shell.serve("shop.py")
    first.line("serving")
    second = shell.serve("shop.py")
    second.line("standby")
    first.send(signal.SIGTERM)
    assert first.end() == 0
    second.line("serving")
    assert shell.ok("start", "shop.py:doubled", "3", "--wait") == "6"


def test_a_quiet_service_logs_no_ends(shell: Shell) -> None:
    # Started before: beside a service that does not serve yet, a start that waits would do the work itself.
    shell.ok("start", "shop.py:doubled", "3", "--id", "quiet")
    service = shell.serve("shop.py", "--quiet")
    assert shell.ok("result", "quiet") == "6"
    service.send(signal.SIGTERM)
    assert service.end() == 0
    assert [line for line in service.said if "doubled" in line] == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_either_event_loop_serves(shell: Shell, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    service = shell.serve("shop.py", "--loop", loop)
    service.line("serving")
    assert shell.ok("start", "shop.py:branching", "[1, 2]", "--wait") == "[2,4]"
    service.send(signal.SIGTERM)
    assert service.end() == 0


def test_a_stalled_run_is_logged_explained_and_resumed_with_mended_code(shell: Shell) -> None:
    gate = shell.gate()
    old = "from shop import *\n@workflow\nasync def changing(gate: str) -> str:\n    return await gated(gate)\n"
    new = old.replace("await gated(gate)", "str(await double(1))")
    service = shell.serve(shell.write("changing.py", old))
    shell.ok("start", "changing.py:changing", str(gate), "--id", "c")
    service.line("at work")
    service.kill()
    changed = shell.serve(shell.write("changing.py", new))
    changed.line("run c (changing) is stalled")
    assert "repair" in shell.ok("why", "c")
    assert "STATUS" in shell.ok("list", "--status", "stalled")
    waiting = shell.run("result", "c")
    assert waiting.code == 7
    assert "perdure resume c" in waiting.err
    again = shell.run("resume", "c")
    assert again.code == 7
    assert "still stalled" in again.err
    assert "repair" in shell.ok("show", "c")
    changed.send(signal.SIGTERM)
    changed.end()
    shell.ok("start", "shop.py:doubled", "1", "--wait")
    assert "repair: Replay disagrees" in shell.ok("why", "c"), "an engine without the code leaves the reason as it was"
    mended = shell.serve(shell.write("changing.py", old))
    mended.line("at work, attempt 2")
    assert shell.ok("resume", "c") == "Run c is running."
    gate.write_text("mended")
    assert shell.ok("result", "c") == '"mended"'


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "at least one file"),
        (("nowhere.py",), 3, "there is no file nowhere.py"),
        (("nowhere",), 3, "no module nowhere"),
        (("no/where",), 3, "there is no file no/where"),
        (("broken.py",), 2, "ZeroDivisionError"),
        (("unwritten.py",), 2, "SyntaxError"),
        (("leaving.py",), 2, "SystemExit"),
        (("twice.py", "shop.py"), 4, "Two actions are named 'double'"),
        (("json.py",), 2, "belongs to Python itself. Rename the file"),
        (("msgspec.py",), 2, "Rename the file"),
        (("a.b.py",), 2, "cannot be imported"),
        (("notes.txt",), 2, "cannot be imported"),
        (("needs.py",), 2, "No module named 'absent_library'"),
        (("shop.py", "--threads", "0"), 2, "expected at least 1"),
        (("shop.py", "--drain", "soon"), 2, "span of time"),
        (("shop.py", "--loop", "spiral"), 2, "--loop"),
        (("shop.py", "--store", "oracle://x"), 2, "the store's URL"),
        (("shop.py", "--store", "sqlite:///no/such/folder/x.db"), 5, "did not answer"),
    ],
)
def test_what_cannot_be_served_is_said(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    shell.write("broken.py", "import os\ndef f():\n    return 1 / 0\nf()\n")
    shell.write("unwritten.py", "async def f(:\n")
    shell.write("leaving.py", "raise SystemExit(3)\n")
    shell.write("twice.py", "from perdure import action\n@action\ndef double(value: int) -> int:\n    return value\n")
    shell.write("json.py", "x = 1\n")
    shell.write("msgspec.py", "x = 1\n")
    shell.write("a.b.py", "x = 1\n")
    shell.write("notes.txt", "not Python\n")
    shell.write("needs.py", "import absent_library\n")
    result = shell.run("serve", *arguments)
    assert (result.code, said in result.err) == (code, True), result
    assert result.out == ""


def test_an_error_in_a_file_shows_the_users_lines_only(shell: Shell) -> None:
    shell.write("broken.py", "def f():\n    return 1 / 0\nf()\n")
    error = shell.run("serve", "broken.py").err
    assert error.count('File "') == 2
    assert "line 3, in <module>" in error
    assert "importlib" not in error
    assert "perdure/cli" not in error


def test_a_store_that_is_no_database_is_refused(shell: Shell) -> None:
    shell.write("notes.db", "these are notes, and nothing but notes\n" * 100)
    assert shell.run("list", "--store", "sqlite:///notes.db").code == 2
    result = shell.run("serve", "shop.py", "--store", "sqlite:///notes.db")
    assert result.code == 2
    assert "notes.db" in result.err
    assert "Traceback" not in result.err


def test_the_store_is_named_by_the_option_then_by_the_environment(shell: Shell) -> None:
    shell.ok("start", "shop.py:doubled", "1", "--id", "a", PERDURE_STORE="sqlite:///from-environment.db")
    shell.ok(
        "start", "shop.py:doubled", "1", "--id", "b", "--store", "sqlite:///from-option.db", PERDURE_STORE="sqlite:///from-environment.db"
    )
    for name, run in (("from-environment.db", "a"), ("from-option.db", "b")):
        connection = sqlite3.connect(shell.folder / name)
        try:
            assert connection.execute("select id from run").fetchall() == [(run,)]
        finally:
            connection.close()
