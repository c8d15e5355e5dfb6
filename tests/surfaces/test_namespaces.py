"""Namespaces: stores apart under one URL, made, changed and deleted while others run."""

import signal
from pathlib import Path

import pytest

import perdure
from perdure import Engine
from perdure.app.stores import open_namespaces
from perdure.model.errors import InvalidOption, NamespaceExists, NamespaceNotFound, Unsupported
from tests.surfaces.processes import Shell


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/app.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.mark.covers("M1")
async def test_runs_of_one_namespace_are_not_there_for_another(url: str) -> None:
    namespaces = open_namespaces(url)
    for name in ("pay", "ship"):
        await namespaces.create(name)
    try:
        assert await namespaces.names() == ["pay", "ship"]
        async with Engine(url, namespace="pay", is_client=True) as pay, Engine(url, namespace="ship", is_client=True) as ship:
            await pay.start("order")
            assert (len(await pay.list()), len(await ship.list())) == (1, 0)
        async with Engine(url, is_client=True) as main:
            assert await main.list() == []
        with pytest.raises(NamespaceExists):
            await namespaces.create("pay")
        with pytest.raises(NamespaceNotFound, match=r"Known: pay, ship"):
            await Engine(url, namespace="pya", is_client=True).open()
        with pytest.raises(NamespaceNotFound):
            await namespaces.delete("pya")
        for bad in ("Pay", "1", "", "a b", "../x", "a" * 32):
            with pytest.raises(InvalidOption):
                await namespaces.create(bad)
    finally:
        for name in await namespaces.names():
            await namespaces.delete(name)
    assert await namespaces.names() == []


def test_a_namespace_needs_a_store_with_a_url_that_can_have_some() -> None:
    with pytest.raises(Unsupported):
        Engine("memory://", namespace="pay")
    with pytest.raises(InvalidOption):
        Engine(perdure.Engine("memory://").store, namespace="pay")


@pytest.mark.covers("M1")
def test_a_namespace_is_made_served_changed_at_run_time_and_deleted(shell: Shell, url: str) -> None:
    place = ("--store", url)
    shell.ok("ns", "create", "pay", "--limit", "calls_open_max=500", "--completed", "30d", *place)
    try:
        assert shell.ok("ns", "list", *place) == "pay"
        shown = shell.run("ns", "show", "pay", *place).json()
        assert (shown["limits"], shown["retention"]) == ({"calls_open_max": 500}, {"completed": "30d"})
        service = shell.serve("shop.py", "--namespace", "pay", *place, PERDURE_DRAIN="1s")
        service.line("serving")
        assert shell.ok("start", "shop.py:branching", "[1, 2, 3]", "--wait", "--namespace", "pay", *place) == "[2,4,6]"
        shell.ok("ns", "set", "pay", "--limit", "calls_open_max=2", "--failed", "1d", "--completed", "", *place)
        service.line("{'calls_open_max': 2}, retention={'failed': '1d'}")
        shell.ok("start", "shop.py:branching", "[1, 2, 3]", "--id", "wide", "--namespace", "pay", *place)
        service.line("calls_open_max is 2")
        busy = shell.run("ns", "delete", "pay", *place)
        assert (busy.code, "Stop every node" in busy.err) == (4, True), busy
        shell.ok("ns", "set", "pay", "--limit", "calls_open_max=", *place)
        service.line("limits={}, retention={'failed': '1d'}")
        shell.ok("resume", "wide", "--namespace", "pay", *place)
        assert shell.ok("result", "wide", "--namespace", "pay", *place) == "[2,4,6]"
        service.send(signal.SIGTERM)
        assert service.end() == 0
        full = shell.run("ns", "delete", "pay", *place)
        assert (full.code, "has runs" in full.err) == (4, True), full
        assert shell.run("list", "--namespace", "pya", *place).code == 3
    finally:
        shell.ok("ns", "delete", "pay", "--force", *place)
    assert shell.ok("ns", "list", *place) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--limit", "odd=1"), "odd=1"),
        (("--limit", "payload_bytes_max=1"), "payload_bytes_max=1"),
        (("--limit", "calls_open_max=many"), "NAME=NUMBER"),
        (("--completed", "soon"), "span of time"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_and_nothing_is_made(shell: Shell, options: tuple[str, ...], said: str) -> None:
    result = shell.run("ns", "create", "pay", *options)
    assert (result.code, said in result.err) == (2, True), result
    assert shell.ok("ns", "list") == ""


def test_the_schema_can_be_applied_and_shown(shell: Shell, url: str) -> None:
    said = shell.ok("schema", "apply", "--store", url)
    assert said.startswith("The schema has version ")
    assert shell.ok("schema", "show", "--store", url) == said
