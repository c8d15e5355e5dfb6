"""``perdure audit``: what it says of a sound store and of one that somebody has meddled with."""

import sqlite3

import msgspec

from tests.surfaces.processes import Shell


def test_a_sound_store_has_no_faults_and_a_broken_one_ends_with_1(shell: Shell) -> None:
    service = shell.serve("shop.py")
    shell.ok("start", "shop.py:doubled", "4", "3", "--id", "done", "--wait")
    shell.ok("start", "shop.py:approved", "--id", "open")
    shell.begin("watch", "open").line("SignalAwaited")
    assert shell.ok("audit") == "2 runs audited: nothing found."
    service.kill()
    with sqlite3.connect(shell.folder / "perdure.db") as connection:
        connection.execute("delete from journal where run = 'done' and number = 2")
    connection.close()
    said = shell.run("audit")
    assert (said.code, "done: gap: row 3 is where row 2 should be" in said.out) == (1, True)
    assert "2 runs audited: 1 fault" in said.out or "faults" in said.out
    said = shell.run("audit", "--json")
    faults = [msgspec.json.decode(line) for line in said.out.splitlines()]
    assert (said.code, {fault["run"] for fault in faults}) == (1, {"done"})
    assert {"run": "done", "rule": "gap", "text": "row 3 is where row 2 should be"} in faults
