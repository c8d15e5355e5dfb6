"""Nodes and workers may speak Avro, each as it likes: whoever hears reads both."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Engine, Worker
from perdure.app import wires
from perdure.model.errors import InvalidOption, Unsupported
from perdure.wire.encoding import JSON, decode
from perdure.wire.messages import AnyWireMessage
from tests.remote.test_same_program import here, journal_of, pay, quote, refuse


@pytest.fixture(params=["sqlite", "amqp"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[str], str]]:
    file = f"sqlite:///{tmp_path / 'node.db'}"
    if request.param == "sqlite":
        yield file, [], file
    else:
        url = request.getfixturevalue("amqp_url")
        yield file, [url], url


@pytest.mark.parametrize(("node", "worker"), [("avro", "avro"), ("avro", "json"), ("json", "avro")])
@pytest.mark.covers("F9")
async def test_the_same_program_has_the_same_journal_in_avro(
    places: tuple[str, list[str], str], node: wires.Wire, worker: wires.Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, said = _watched(monkeypatch)
    store, transports, connect = places
    async with Engine("memory://", registry=here) as engine:
        local = await journal_of(engine)
    async with (
        Engine(store, registry=here, transports=transports, is_serving=False, drain="0s", wire=node) as engine,
        Worker(connect, [quote, pay, refuse], interval="200ms", wire=worker),
    ):
        assert await journal_of(engine) == local
    assert (sent, said) == ({wires.WIRES[node]}, {wires.WIRES[worker]})


def _watched(monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], set[str]]:
    """Give the content types of what workers and nodes hear from now on."""
    calls: set[str] = set()
    reports: set[str] = set()

    def watch(place: str, heard: set[str]) -> None:
        def spy(body: bytes, content_type: str = JSON) -> AnyWireMessage:
            assert body.startswith(b"{") == (content_type == JSON)
            heard.add(content_type)
            return decode(body, content_type)

        monkeypatch.setattr(f"{place}.decode", spy)

    watch("perdure.workers.intake", calls)
    watch("perdure.remote.hearing", reports)
    watch("perdure.remote.reporting", reports)
    return calls, reports


def test_another_wire_is_refused_and_avro_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidOption, match="json or avro"):
        Engine("memory://", wire="xml")  # type: ignore[arg-type]  # That is what is refused.
    monkeypatch.setitem(sys.modules, "perdure.wire.avro", None)
    with pytest.raises(Unsupported, match=r"pip install 'perdure\[avro\]'"):
        Worker("sqlite:///a.db", [quote], wire="avro")
