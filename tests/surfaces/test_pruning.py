"""``perdure prune``: what it deletes, and what it only counts."""

from tests.surfaces.processes import Shell


def test_old_runs_are_counted_then_deleted_and_open_ones_stay(shell: Shell) -> None:
    assert shell.ok("start", "shop.py:doubled", "4", "--id", "done", "--wait") == "8"
    shell.ok("start", "shop.py:approved", "--id", "open")
    assert shell.ok("prune", "--completed", "1d", "--failed", "1d") == "0 completed runs deleted\n0 failed runs deleted"
    assert shell.ok("prune", "--completed", "0s", "--dry-run") == "1 completed run would be deleted"
    assert shell.ok("prune", "--completed", "0s", "--cancelled", "0s") == "1 completed run deleted\n0 cancelled runs deleted"
    assert [row["id"] for row in shell.run("list", "--json").json()] == ["open"]
    assert shell.run("result", "done").code == 3


def test_nothing_is_deleted_that_was_not_named(shell: Shell) -> None:
    shell.ok("start", "shop.py:doubled", "4", "--wait")
    said = shell.run("prune")
    assert (said.code, "such as --completed 30d" in said.err) == (2, True)
    said = shell.run("prune", "--completed", "soon")
    assert (said.code, "span of time" in said.err) == (2, True)
