"""Commands that ask something of a run, beside a service on the same file."""

import shlex
import subprocess

import pytest

from tests.surfaces.processes import Shell


@pytest.mark.covers("I25")
def test_a_signal_reaches_the_run(served: Shell) -> None:
    served.ok("start", "shop.py:approved", "--id", "s1")
    assert served.ok("send", "s1", "approval", '{"ok": true}') == ""
    assert served.ok("result", "s1") == "true"


def test_a_signal_sent_again_with_its_id_takes_effect_once(served: Shell) -> None:
    served.ok("start", "shop.py:Cart", "--id", "s2")
    for _ in range(2):
        served.ok("send", "s2", "other", "1", "--id", "once")
    served.ok("update", "s2", "add", "x")
    marks = served.run("show", "s2", "--json").json()["marks"]
    assert [mark["text"] for mark in marks] == ["other"]


@pytest.mark.covers("I29")
def test_updates_and_queries_are_answered(served: Shell) -> None:
    served.ok("start", "shop.py:Cart", "--id", "u1")
    assert served.ok("update", "u1", "add", "apple") == "1"
    assert served.ok("update", "u1", "add", "--arg", "item=pear", "--arg", "count=2") == "3"
    assert served.ok("query", "u1", "count") == "3"
    assert served.ok("query", "u1", "count", "pear") == "2"
    refused = served.run("update", "u1", "add", "")
    assert (refused.code, refused.out) == (1, "")
    assert "ValueError: an item has a name" in refused.err


def test_an_update_with_an_id_takes_effect_once(served: Shell) -> None:
    served.ok("start", "shop.py:Cart", "--id", "u2")
    assert [served.ok("update", "u2", "add", "apple", "--id", "first") for _ in range(2)] == ["1", "1"]
    assert served.ok("query", "u2", "count") == "1"


def test_a_result_with_nothing_to_pass_on_is_null_and_said_to_be_empty(served: Shell) -> None:
    served.ok("start", "shop.py:seeking", "1", "--id", "e1")
    assert served.ok("result", "e1") == "null"
    assert "(empty: nothing to pass on)" in served.ok("show", "e1")


def test_a_run_that_is_cancelled_ends_as_cancelled(served: Shell) -> None:
    served.ok("start", "shop.py:approved", "--id", "c1")
    assert served.ok("cancel", "c1", "--wait", "--reason", "too late") == "Run c1 is cancelled."
    said = served.run("result", "c1")
    assert (said.code, said.out) == (6, "")
    assert "too late" in said.err
    assert served.run("watch", "c1").code == 6
    assert "too late" in served.ok("show", "c1")


@pytest.mark.covers("I32")
def test_an_open_call_is_ended_from_outside_and_a_wrong_value_leaves_it_open(served: Shell) -> None:
    served.ok("start", "shop.py:questioned", "--id", "q1")
    served.ok("start", "shop.py:questioned", "--id", "q2")
    key = _key_of(served, "q1")
    wrong = served.run("complete", key, "many")
    assert (wrong.code, "Expected `int`" in wrong.err) == (2, True)
    assert served.ok("complete", key, "12") == ""
    assert served.ok("result", "q1") == "12"
    assert served.run("complete", key, "13").code == 4
    assert served.ok("fail", _key_of(served, "q2"), "nobody knows") == ""
    failed = served.run("result", "q2")
    assert (failed.code, "nobody knows" in failed.err) == (1, True)


def _key_of(served: Shell, run: str) -> str:
    """The call is open once a watcher has seen it so."""
    watching = served.begin("watch", run)
    watching.line("ActionPending")
    watching.kill()
    reasons = served.run("why", run, "--json").json()
    assert [reason["waits_for"] for reason in reasons] == ["outside"]
    key: str = reasons[0]["key"]
    return key


def test_a_watcher_sees_each_fact_and_ends_with_the_run(served: Shell) -> None:
    served.ok("start", "shop.py:approved", "--id", "w1")
    watching = served.begin("watch", "w1")
    assert "shop.py:" in watching.line("SignalAwaited")
    served.ok("send", "w1", "approval", '{"ok": false}')
    watching.line("SignalReceived")
    watching.line("RunCompleted")
    assert watching.end() == 0
    lines = served.ok("watch", "w1", "--json").splitlines()
    assert [line.split('"fact":"')[1].split('"')[0] for line in lines][-1] == "RunCompleted"


def test_a_wait_has_an_end(served: Shell) -> None:
    served.ok("start", "shop.py:approved", "--id", "t1")
    late = served.run("result", "t1", "--timeout", "10ms")
    assert late.code == 5
    assert "has not ended within 0.01s" in late.err
    assert served.run("result", "t1", "--timeout", "0s").code == 5


def test_a_command_that_needs_a_node_says_so_after_its_patience(shell: Shell) -> None:
    shell.ok("start", "shop.py:Cart", "--id", "lonely")
    for arguments in (
        ("query", "lonely", "count"),
        ("update", "lonely", "add", "x"),
        ("resume", "lonely"),
        ("complete", "lonely#1#1", "1"),
    ):
        late = shell.run(*arguments, "--patience", "20ms")
        assert late.code == 5, late
        assert "Is 'perdure serve' running" in late.err
    assert shell.run("query", "lonely", "count", PERDURE_PATIENCE="10ms").code == 5


@pytest.fixture(scope="module")
def stocked(served: Shell) -> Shell:
    """Where one run is open and one is done."""
    served.ok("start", "shop.py:Cart", "--id", "cart")
    served.ok("start", "shop.py:doubled", "1", "--id", "done", "--wait")
    return served


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("result", "nobody"), 3, "no run 'nobody'"),
        (("show", "nobody"), 3, "no run 'nobody'"),
        (("show", "nobody", "--json"), 3, "no run 'nobody'"),
        (("why", "nobody"), 3, "no run 'nobody'"),
        (("watch", "nobody"), 3, "no run 'nobody'"),
        (("send", "nobody", "approval"), 3, "no run 'nobody'"),
        (("update", "nobody", "add"), 3, "no run 'nobody'"),
        (("query", "nobody", "count"), 3, "no run 'nobody'"),
        (("cancel", "nobody"), 3, "no run 'nobody'"),
        (("resume", "nobody"), 3, "no run 'nobody'"),
        (("complete", "no key", "1"), 3, "No open call"),
        (("complete", "cart#1#9", "1"), 4, "not waiting for an outside outcome"),
        (("fail", "no key", "x"), 3, "No open call"),
        (("query", "cart", "sum"), 3, "'sum'"),
        (("query", "cart", "count", "1", "2"), 2, "count"),
        (("update", "cart", "take"), 3, "'take'"),
        (("update", "cart", "add", "5"), 2, "Expected `str`, got `int`"),
        (("send", "done", "approval"), 4, "has ended (completed)"),
        (("update", "done", "add", "x"), 4, "has ended (completed)"),
        (("cancel", "done"), 4, "has ended already (completed)"),
        (("resume", "done"), 4, "has ended (completed)"),
        (("result", "done", "--timeout", "soon"), 2, "span of time"),
        (("query", "cart", "count", "--patience", "long"), 2, "span of time"),
        (("result",), 2, "requires an argument"),
        (("send", "cart"), 2, "requires an argument"),
        (("list", "--status", "odd"), 2, "odd"),
        (("list", "--limit", "many"), 2, "many"),
        (("show", "cart", "--width", "wide"), 2, "wide"),
        (("dance",), 2, "dance"),
        (("list", "--store", "sqlite:///nowhere.db"), 3, "no store sqlite:///nowhere.db"),
        (("list", "--store", "nonsense"), 2, "the store's URL"),
    ],
)
def test_every_mistake_has_its_exit_code_and_a_sentence(stocked: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = stocked.run(*arguments)
    assert (result.code, said in result.err) == (code, True), result
    assert result.out == ""
    assert "Traceback" not in result.err
    assert not (stocked.folder / "nowhere.db").exists()


def test_the_list_can_be_narrowed(served: Shell) -> None:
    served.ok("start", "shop.py:doubled", "1", "--id", "l1", "--tag", "red", "--tag", "round", "--wait")
    served.ok("start", "shop.py:approved", "--id", "l2", "--tag", "red")
    table = served.ok("list", "--tag", "red").splitlines()
    assert table[0].split() == ["ID", "DEFINITION", "STATUS", "AGE", "WAITS", "FOR"]
    assert [line.split()[:3] for line in table[1:]] == [["l2", "approved", table[1].split()[2]], ["l1", "doubled", "completed"]]
    assert [row["id"] for row in served.run("list", "--tag", "red", "--definition", "approved", "--json").json()] == ["l2"]
    assert [row["id"] for row in served.run("list", "--tag", "round", "--status", "completed", "--json").json()] == ["l1"]
    assert len(served.run("list", "--tag", "red", "--limit", "1", "--json").json()) == 1
    assert served.ok("list", "--tag", "blue") == "No runs."


def test_a_reader_that_goes_away_ends_the_command_without_a_word(served: Shell) -> None:
    served.ok("start", "shop.py:branching", str(list(range(400))), "--id", "wide", "--wait")
    command = " ".join(shlex.quote(part) for part in served._command(("show", "wide", "--json")))
    piped = ["bash", "-c", f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"]
    said = subprocess.run(piped, cwd=served.folder, env=served._environment({}), capture_output=True, text=True, timeout=20, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (141, "{\n", "")
