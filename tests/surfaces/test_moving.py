"""``perdure export`` and ``perdure import``: from file to file, beside services and without."""

import pytest

from tests.surfaces.processes import Shell


@pytest.mark.covers("M22")
def test_open_and_ended_runs_move_to_another_store_and_go_on_there(shell: Shell) -> None:
    service = shell.serve("shop.py")
    assert shell.ok("start", "shop.py:doubled", "4", "--id", "done", "--wait") == "8"
    shell.ok("start", "shop.py:approved", "--id", "open")
    watching = shell.begin("watch", "open")
    watching.line("SignalAwaited")
    refused = shell.run("export", "all.jsonl", "--open")
    assert (refused.code, "Stop every node" in refused.err) == (4, True)
    some = shell.run("export", "-")
    assert (some.code, some.out.count('"kind":"run"')) == (0, 1)
    assert "1 open run left out" in some.err
    service.kill()
    said = shell.run("export", "all.jsonl", "--open")
    assert "never serve both" in said.err
    for expected in ("2 runs imported, 1 of them open; 0 were", "0 runs imported, 0 of them open; 2 were"):
        assert expected in shell.run("import", "all.jsonl", "--store", "sqlite:///new.db").err
    shell.serve("shop.py", PERDURE_STORE="sqlite:///new.db").line("serving")
    assert shell.ok("result", "done", "--store", "sqlite:///new.db") == "8"
    shell.ok("send", "open", "approval", '{"ok": true}', "--store", "sqlite:///new.db")
    assert shell.ok("result", "open", "--store", "sqlite:///new.db") == "true"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("export", "x.jsonl"), 3, "no store"),
        (("export", "no/where.jsonl", "--store", "sqlite:///there.db"), 2, "cannot be written"),
        (("import", "nowhere.jsonl"), 3, "no file nowhere.jsonl"),
        (("import", "shop.py"), 2, "Line 1 of the export"),
    ],
)
def test_a_move_that_cannot_be_made_says_why(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    shell.ok("start", "shop.py:doubled", "1", "--store", "sqlite:///there.db")
    result = shell.run(*arguments)
    assert (result.code, said in result.err) == (code, True), result
    assert "Traceback" not in result.err
