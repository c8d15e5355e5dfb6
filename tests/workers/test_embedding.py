"""A worker inside a program, beside an engine on the same store."""

import gc
from pathlib import Path

import pytest

import perdure
from perdure import Engine, Registry, Retry, Worker, action, errors, workflow
from perdure.ports.facilities import records_of
from perdure.ports.nursery import YOUNG_MIN

registry = Registry()
tries: list[tuple[str, int, object]] = []


@action(registry=registry, queue="far", retry=Retry(attempts=5, first="1ms", never=[KeyError]))
async def flaky(name: str) -> str:
    current = perdure.attempt()
    tries.append((current.key, current.number, current.details))
    current.heartbeat({"try": current.number})
    match name, current.number:
        case "unlucky", (1 | 2):
            raise ConnectionError("refused")
        case "patient", 1:
            raise perdure.RetryAfter("1ms")
        case "never", _:
            raise KeyError("gone")
        case "given up", _:
            raise perdure.GiveUp("enough")
    return name


@action(registry=registry, queue="far")
async def keeps() -> list[str]:
    before = await records_of("keeps").add("test", {"seen": b"1"})
    return sorted(before)


@workflow(registry=registry)
async def flaked(name: str) -> str:
    return await flaky(name)


@workflow(registry=registry)
async def kept() -> list[list[str]]:
    return [await keeps(), await keeps()]


@pytest.mark.covers("I17", "I36", "F5")
async def test_retries_go_by_the_policy_and_each_attempt_has_the_key_of_its_call(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    async with Engine(url, registry=registry) as engine, Worker(url, [flaky], interval="100ms", name="here") as worker:
        assert worker.id.startswith("here.")
        assert worker.place == url
        for name in ("unlucky", "patient"):
            assert await engine.run(flaked, name) == name
        with pytest.raises(KeyError):
            await engine.run(flaked, "never")
        with pytest.raises(perdure.GiveUp):
            await engine.run(flaked, "given up")
        assert (worker.running, worker.is_away) == (0, False)
    assert [number for _, number, _ in tries] == [1, 2, 3, 1, 2, 1, 1]
    assert len({key for key, _, _ in tries}) == 4


async def test_actions_of_a_worker_on_the_store_may_keep_records_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    async with Engine(url, registry=registry) as engine, Worker(url, [keeps]):
        assert await engine.run(kept) == [[], ["seen"]]


async def test_a_worker_that_cannot_connect_says_so_and_leaves_nothing_open() -> None:
    with pytest.raises(errors.TransportUnavailable):
        await Worker("amqp://guest:guest@127.0.0.1:1/", [flaky]).open()


@pytest.mark.parametrize("url", ["memory://", "http//x", "", "ftp://x/y"])
def test_a_url_of_no_transport_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidOption, match="connect"):
        Worker(url, [flaky])


async def test_the_collectors_young_generation_has_room_while_a_worker_is_open(tmp_path: Path) -> None:
    url, before = f"sqlite:///{tmp_path}/app.db", gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    try:
        async with Engine(url, registry=registry):
            pass
        async with Worker(url, [flaky]):
            assert gc.get_threshold()[0] == YOUNG_MIN
        assert gc.get_threshold() == (700, 10, 10)
    finally:
        gc.set_threshold(*before)
