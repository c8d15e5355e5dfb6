"""``perdure start``: what it starts, how it waits, and what it prints."""

import os
import pty
import signal
import subprocess

import pytest

from tests.surfaces.processes import Shell


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (("shop.py:doubled", "4"), "8"),
        (("shop:doubled", "4"), "8"),
        (("./shop.py:doubled", "4", "2"), "16"),
        (("shop.py:doubled", "--arg", "value=4", "--arg", "times=3"), "32"),
        (("shop.py:doubled", "--", "-4"), "-8"),
        (("shop.py:branching", "[1, 2, 3]"), "[2,4,6]"),
        (("package/flows.py:shout", "plain text"), '"PLAIN TEXT"'),
        (("package/flows.py:shout", '"5"'), '"5"'),
        (("package:shout", "x"), '"X"'),
    ],
)
def test_without_a_service_the_waiting_command_runs_the_run_itself(shell: Shell, arguments: tuple[str, ...], result: str) -> None:
    flows = "from perdure import workflow\n@workflow\nasync def shout(text: str) -> str:\n    return text.upper()\n"
    shell.write("package/flows.py", flows)
    shell.write("package/__init__.py", "from package.flows import shout\n")
    said = shell.run("start", "--wait", *arguments)
    assert said.code == 0, said
    assert said.out == result + "\n"
    run = said.err.split()[0]
    assert shell.ok("result", run) == result


def test_waiting_ends_as_the_run_ends(shell: Shell) -> None:
    failed = shell.run("start", "shop.py:broken", "no room", "--wait", "--id", "b")
    assert failed.code == 1
    assert failed.out == ""
    assert failed.err.rstrip().endswith("OutOfStock: no room")
    assert 'shop.py", line' in failed.err
    assert shell.run("result", "b").code == 1


def test_a_waiting_command_sees_the_run_cancelled_by_another(shell: Shell) -> None:
    waiting = shell.begin("start", "shop.py:approved", "--wait", "--id", "a")
    waiting.line("a")
    shell.ok("cancel", "a", "--reason", "closed today")
    assert waiting.end() == 6
    assert "cancelled. (closed today)" in waiting.said[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_wait_leaves_the_run_to_the_next_engine(shell: Shell, number: signal.Signals, code: int) -> None:
    waiting = shell.begin("start", "shop.py:approved", "--wait", "--id", "a")
    waiting.line("a")
    waiting.send(number)
    assert waiting.end() == code
    shell.ok("send", "a", "approval", '{"ok": true}')
    assert shell.ok("start", "shop.py:approved", "--wait", "--id", "a") == "true"


@pytest.mark.covers("I23")
def test_an_id_names_one_run(shell: Shell) -> None:
    assert shell.ok("start", "shop.py:doubled", "4", "--id", "one") == "one"
    assert shell.ok("start", "shop.py:doubled", "4", "--id", "one", "--wait") == "8"
    assert shell.ok("start", "shop.py:doubled", "4", "--id", "one") == "one"
    conflict = shell.run("start", "shop.py:doubled", "5", "--id", "one")
    assert conflict.code == 4
    assert "exists already" in conflict.err
    assert shell.run("start", "shop.py:doubled", "4", "--id", "one", "--on-ended", "refuse").code == 4


def test_bytes_are_given_as_they_are(shell: Shell) -> None:
    shell.ok("start", "shop.py:pictured", "--id", "p", "--wait", "--output", "p.jpg")
    assert (shell.folder / "p.jpg").read_bytes() == b"\xff\xd8 no text"
    assert "8 bytes" not in shell.ok("show", "p")
    assert "bytes" in shell.ok("show", "p")
    refused = shell.run("result", "p", "--output", "no/such/folder/p.jpg")
    assert (refused.code, "No such file" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "requires an argument"),
        (("doubled",), 2, "expected FILE:WORKFLOW"),
        (("shop.py:",), 2, "expected FILE:WORKFLOW"),
        (("nowhere.py:doubled",), 3, "no file nowhere.py"),
        (("shop.py:nothing",), 3, "has no workflow 'nothing'. It has: Cart, approved"),
        (("shop.py:double",), 3, "is no workflow"),
        (("shop.py:doubled",), 2, "missing a required argument"),
        (("shop.py:doubled", "four"), 2, "Expected `int`, got `str`"),
        (("shop.py:doubled", "NaN"), 2, "Expected `int`, got `str`"),
        (("shop.py:doubled", "1", "2", "3"), 2, "too many positional arguments"),
        (("shop.py:doubled", "--arg", "value"), 2, "expected name=value"),
        (("shop.py:doubled", "--arg", "value=1", "--arg", "value=2"), 2, "given twice"),
        (("shop.py:doubled", "1", "--on-ended", "shrug"), 2, "--on-ended"),
        (("shop.py:doubled", "1", "--version", "newest"), 2, "--version"),
        (("shop.py:doubled", "1", "--id", ""), 2, "empty text"),
        (("shop.py:doubled", "1", "--colour", "red"), 2, "--colour"),
    ],
)
def test_what_cannot_be_started_is_said_and_nothing_is_started(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = shell.run("start", *arguments)
    assert (result.code, said in result.err) == (code, True), result
    assert "Traceback" not in result.err
    assert shell.run("list").out in ("", "No runs.\n")


def test_a_terminal_shows_how_far_a_long_wait_is(shell: Shell) -> None:
    gate = shell.gate()
    service = shell.serve("shop.py")
    service.line("serving")
    shell.ok("start", "shop.py:through_gate", str(gate), "--id", "slow")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        shell._command(("result", "slow")),
        cwd=shell.folder,
        env=shell._environment({"TERM": "xterm", "COLUMNS": "100"}),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as waiting:
        os.close(theirs)
        seen = b""
        while b"0/1" not in seen:
            seen += os.read(ours, 4096)
        gate.write_text("through")
        out, _ = waiting.communicate(timeout=20)
    os.close(ours)
    assert out == '"through"\n'
