"""``perdure show``, as text and as JSON."""

import re

from tests.surfaces.processes import Shell


def test_a_run_is_drawn_with_its_branches_attempts_lines_and_result(served: Shell) -> None:
    served.ok("start", "shop.py:stubborn", "2", "--id", "f1", "--tag", "vip", "--wait")
    head, counts, _, axis, bar, note, _, foot = served.ok("show", "f1").splitlines()
    assert re.fullmatch(r"f1  stubborn  completed in \S+  #vip", head)
    assert "1 call · 2 retries" in counts
    assert axis.strip().startswith("╷0")
    assert re.match(r"1 flaky +[━✗┈·]+ .* ×3  shop\.py:\d+", bar)
    assert "attempts 1–2: ConnectionError: refused (shop.py:" in note
    assert foot == "result  3"


def test_a_failed_run_shows_the_error_and_its_line(served: Shell) -> None:
    served.ok("start", "shop.py:broken", "no room", "--id", "f2")
    served.run("result", "f2")
    assert re.fullmatch(r"failed  OutOfStock: no room \(shop\.py:\d+\)", served.ok("show", "f2").splitlines()[-1])


def test_an_open_run_shows_what_it_waits_for(served: Shell) -> None:
    served.ok("start", "shop.py:approved", "--id", "o1")
    served.begin("watch", "o1").line("SignalAwaited")
    shown, why = served.ok("show", "o1"), served.ok("why", "o1")
    assert re.search(r"waits for  call 1: the signal 'approval'  \S+shop\.py:\d+", shown)
    assert re.fullmatch(r"Run o1 \(approved\) is waiting. It waits for:\n  call 1: the signal 'approval'\n      \S+shop\.py:\d+", why)
    served.ok("send", "o1", "approval", '{"ok": true}')
    served.ok("result", "o1")
    assert served.ok("why", "o1") == "Run o1 waits for nothing: it is completed."


def test_published_state_and_family_are_shown(served: Shell) -> None:
    served.ok("start", "shop.py:parental", "7", "--id", "p1", "--wait")
    text = served.ok("show", "p1")
    assert 'state  {"stage":"packed"}' in text
    assert "1 run doubled" in text
    assert "child of p1" in served.ok("show", "p1:1")
    assert [row["id"] for row in served.run("list", "--parent", "p1", "--json").json()] == ["p1:1"]


def test_json_has_all_that_is_known(served: Shell) -> None:
    served.ok("start", "shop.py:branching", "[1, 2]", "--id", "j1", "--wait")
    known = served.run("show", "j1", "--json").json()
    assert known["status"] == "completed"
    assert [(step["call"], step["branch"], step["name"], step["state"]) for step in known["steps"]] == [
        ("1/1", "1", "double", "done"),
        ("2/1", "2", "double", "done"),
    ]
    assert [step["value"] for step in known["steps"]] == [2, 4]
    assert all(step["tries"][0]["ended"] >= step["began"] for step in known["steps"])
    assert known["journal"][0]["fact"] == "RunStarted"
    assert known["waits"] == []


def test_plain_output_has_no_colours_and_fits_the_width(served: Shell) -> None:
    served.ok("start", "shop.py:branching", "[1, 2]", "--id", "n1", "--wait")
    for columns in (40, 80, 140):
        for text in (served.ok("show", "n1", "--width", str(columns)), served.ok("show", "n1", COLUMNS=str(columns))):
            assert "\x1b" not in text
            assert max(map(len, text.splitlines())) <= columns


def test_an_output_that_cannot_hold_the_signs_gets_others(served: Shell) -> None:
    served.ok("start", "shop.py:branching", "[1, 2]", "--id", "a1", "--wait")
    text = served.ok("show", "a1", PYTHONIOENCODING="ascii")
    assert text.isascii()
    assert "+ 1/1 double" in text
    assert "==" in text


def test_colours_are_for_terminals_that_want_them(served: Shell) -> None:
    served.ok("start", "shop.py:branching", "[1, 2]", "--id", "k1", "--wait")
    assert "\x1b[" in served.ok("show", "k1", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[3" not in served.ok("show", "k1", FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")
