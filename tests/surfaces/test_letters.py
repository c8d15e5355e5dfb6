"""``perdure dead``: what it lists, shows, puts back and drops; and ``perdure health``, which counts."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure.app.stores import open_store
from perdure.cli import main
from perdure.ports.transport import DEAD, Packet, calls_address, dead_letter
from perdure.transports.nats import NatsTransport
from tests.surfaces.processes import Said

A = calls_address("images", "crop", 1)
NASTY = b'{"v":9}\n\x1b]0;title\x07\x80' + "\u202e\u009b".encode()


class Shell:
    """The command in this process: a process for each of so many lines would take a minute."""

    def __init__(self, folder: Path, said: Callable[[int], Said]) -> None:
        self.folder = folder
        self._said = said

    def run(self, *line: str) -> Said:
        return self._said(main(line))

    def ok(self, *line: str) -> str:
        said = self.run(*line)
        assert said.code == 0, said
        return said.out.rstrip("\n")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A folder with no store yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("PERDURE_STORE", "PERDURE_CONNECT"):
        monkeypatch.delenv(name, raising=False)
    return Shell(tmp_path, lambda code: Said(code, *capsys.readouterr()))


def bury(shell: Shell, *packets: Packet, address: str = A) -> None:
    async def work() -> None:
        store = open_store(f"sqlite:///{shell.folder / 'perdure.db'}")
        await store.open()
        await store.put_packets([(DEAD, dead_letter(packet, address, "unknown version 9\n\x1b[31m", 0)) for packet in packets], 0)
        await store.close()

    asyncio.run(work())


def test_letters_are_listed_shown_put_back_and_dropped(shell: Shell) -> None:
    bury(shell, Packet("one", NASTY, headers={"traceparent": "00-\x1b"}), Packet("two", b"x" * 5_000), Packet("three", b"{}"))
    listed = shell.ok("dead", "list").splitlines()
    assert listed[0].split() == ["DEAD", "LETTER", "AGE", "BYTES", "FROM", "REASON"]
    assert len(listed) == 4
    assert listed[1].startswith("one ")
    assert listed[1].endswith(r"unknown version 9\n\x1b[31m")
    assert "1 more" in shell.ok("dead", "list", "--limit", "2")
    (one, *_) = shell.run("dead", "list", "--json").json()
    assert one == {
        "id": "one", "origin": A, "reason": "unknown version 9\n\x1b[31m", "died": "1970-01-01T00:00:00Z",
        "bytes": len(NASTY), "content_type": "application/json",
    }  # fmt: skip
    shown = shell.ok("dead", "show", "one")
    assert shown.isprintable() or all(line.isprintable() for line in shown.splitlines())
    assert r"\x1b]0;title\x07\x80\u202e\x9b" in shown
    assert "904 bytes more" in shell.ok("dead", "show", "two")
    inside = shell.run("dead", "show", "one", "--json")
    assert inside.out.isascii()
    assert (inside.json()[0]["headers"]["traceparent"], "body" in inside.json()[0]) == ("00-\x1b", False)
    shell.ok("dead", "show", "one", "--output", "body.bin")
    assert (shell.folder / "body.bin").read_bytes() == NASTY
    assert "3 dead letters" in shell.run("health").out
    assert shell.ok("dead", "retry", "one") == f"one is back at {A}."
    assert shell.ok("dead", "drop", "two") == "1 dead letter dropped."
    assert shell.ok("dead", "retry", "--all", "--to", "perdure.calls.q.b.v1") == "1 dead letter put back."
    assert shell.ok("dead", "list") == "No dead letters."
    assert json.loads(shell.run("health", "--json").out)["dead_letters"] == 0


def test_what_cannot_be_done_is_said_with_the_code_for_it(shell: Shell) -> None:
    said = shell.run("dead", "list")
    assert (said.code, "there is no store" in said.err) == (3, True)
    bury(shell, Packet("far", b""), address="perdure.calls." + "x" * 300)
    for line, code, words in (
        (["drop"], 2, "give --all"),
        (["retry", "far", "--all"], 2, "give --all"),
        (["list", "--limit", "0"], 2, "at least 1"),
        (["show", "nobody"], 3, "no dead letter 'nobody'"),
        (["retry", "far"], 2, "--to ADDRESS"),
        (["retry", "--all"], 2, "far stays"),
        (["show", "far", "--output", "no/such/folder"], 2, "--output"),
        (["list", "--connect", "http://127.0.0.1:9"], 2, "store of its nodes"),
        (["list", "--connect", "amqp://guest:guest@127.0.0.1:9/?connect_timeout=1"], 5, "amqp://"),
    ):
        said = shell.run("dead", *line)
        assert (said.code, words in said.err) == (code, True), said
    assert "far" in shell.ok("dead", "list")


@pytest.mark.covers("S13")
def test_letters_on_a_broker_are_counted_and_dropped(shell: Shell, nats_url: str) -> None:
    async def work() -> None:
        transport = NatsTransport(nats_url)
        await transport.open()
        await transport.send(DEAD, [Packet("p", b"")])
        await transport.close()

    asyncio.run(work())
    bury(shell)
    assert "1 dead letter: see perdure dead list" in shell.run("health", "--connect", nats_url).out
    assert shell.ok("dead", "drop", "--all", "--connect", nats_url) == "1 dead letter dropped."
