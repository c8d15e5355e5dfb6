"""Workers and nodes that begin while a broker, a database or an API is away, or refuses them."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from perdure import Engine, Registry, errors, workflow
from perdure.app import calling
from tests.conformance.proxy import proxied
from tests.surfaces.processes import Service, Shell
from tests.workers import duties
from tests.workers.test_real_workers import end, said

DUTIES = str(Path(duties.__file__))
here = Registry()


@workflow(registry=here)
async def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Shell(tmp_path) as found:
        yield found


@pytest.fixture(params=["amqp_url", "nats_url"])
def broker_url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def worker(shell: Shell, url: str) -> Service:
    return shell.begin("worker", DUTIES, "--connect", url, "--interval", "300ms")


def with_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}"))


async def test_a_worker_and_a_node_wait_for_a_broker_that_is_away_when_they_begin(
    broker_url: str, shell: Shell, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with proxied(broker_url) as (proxy, url):
        await proxy.stop()
        service = worker(shell, url)
        with caplog.at_level(logging.INFO, "perdure"):
            async with Engine(f"sqlite:///{tmp_path}/node.db", transports=[url], lease="2s", is_serving=False, drain="0s") as engine:
                run = await engine.start(duties.sums, 5)
                assert "did not answer" in await said(service, "not connected yet, and tried again until it is")
                await proxy.resume()
                await said(service, "performs")
                async with asyncio.timeout(30):
                    assert await run.result()
        service.process.terminate()
        assert await end(service) == 0
    lines = [record.getMessage() for record in caplog.records if record.name == "perdure"]
    assert sum("not connected, and tried again until it is" in line for line in lines) == 1
    assert sum(line.endswith("is there") for line in lines) == 1


@pytest.mark.parametrize(
    "url", ["amqp://127.0.0.1:{port}", "nats://127.0.0.1:{port}", "http://127.0.0.1:{port}", "postgresql://127.0.0.1:{port}/x"]
)
def test_a_worker_that_waits_for_whoever_is_away_can_be_stopped(url: str, shell: Shell) -> None:
    with socket.socket() as unheard:
        # Bound and not listened to: nobody else gets the port, and whoever asks is refused.
        unheard.bind(("127.0.0.1", 0))
        service = worker(shell, url.format(port=unheard.getsockname()[1]))
        service.line("not connected yet")
        service.process.terminate()
        assert service.end() == 0
    assert service.said[-1].endswith("stopped before it was connected")
    assert not [line for line in service.said if "performs" in line]


def test_a_worker_that_is_refused_ends_at_once_and_says_why(amqp_server: str, postgres_server: str, shell: Shell) -> None:
    for url, why in [
        (with_user(amqp_server, "nobody:secret"), "the credentials of"),
        (f"{amqp_server}?colour=blue", "the option 'colour'"),
        (urlunsplit(urlsplit(postgres_server)._replace(path="/nowhere")), "the user, password or database of the store"),
    ]:
        ended = shell.run("worker", DUTIES, "--connect", url)
        assert (ended.code, why in ended.err, "secret" in ended.err) == (2, True, False), ended


def test_a_node_that_a_broker_refuses_ends_at_once_and_says_why(amqp_server: str, shell: Shell) -> None:
    shell.write("flows.py", "import perdure\n\n@perdure.workflow\nasync def nothing() -> None: ...\n")
    ended = shell.run("serve", "flows.py", "--transport", with_user(amqp_server, "nobody:secret"))
    assert (ended.code, "the credentials of" in ended.err, "secret" in ended.err) == (2, True, False), ended


async def test_a_node_goes_on_without_a_broker_that_does_not_even_refuse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(calling, "FIRST_TRY_S", 0.05)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"amqp://127.0.0.1:{deaf.getsockname()[1]}"
        async with Engine(f"sqlite:///{tmp_path}/node.db", transports=[url], registry=here) as engine, asyncio.timeout(30):
            assert await engine.run(double, 2) == 4


async def test_an_engine_that_is_refused_leaves_its_store_to_others(amqp_server: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/node.db"
    with pytest.raises(errors.InvalidOption, match="credentials"):
        await Engine(store, transports=[with_user(amqp_server, "nobody:secret")]).open()
    async with Engine(store, registry=here) as engine, asyncio.timeout(30):
        assert await engine.run(double, 2) == 4
