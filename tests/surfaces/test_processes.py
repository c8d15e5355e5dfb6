"""``perdure serve`` with several processes, with roles, and with probes."""

import os
import re
import signal
import socket
import urllib.error
import urllib.request
from typing import Any

import msgspec
import pytest

from tests.surfaces.processes import Service, Shell


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, msgspec.json.decode(error.read())


def pids(service: Service, count: int) -> list[int]:
    return [int(re.findall(r"is (\d+)", service.line(f"process {number + 1} is"))[0]) for number in range(count)]


@pytest.mark.covers("M17", "M26")
def test_processes_share_the_runs_one_that_crashed_is_started_again_and_all_drain(shell: Shell, postgres_url: str) -> None:
    service = shell.serve("shop.py", "--processes", "2", "--store", postgres_url, "--name", "n")
    first, _ = pids(service, 2)
    for name in ("n-1", "n-2"):
        service.line(f"[{name}] serving")
    assert shell.ok("start", "shop.py:doubled", "4", "--wait", "--store", postgres_url) == "8"
    nodes = shell.run("health", "--json", "--store", postgres_url).json()["nodes"]
    assert {node["name"] for node in nodes} == {"n-1", "n-2"}
    os.kill(first, signal.SIGKILL)
    service.line("process 1 was ended by SIGKILL; it is started again in 0.5 s")
    assert pids(service, 1) != [first]
    service.line("[n-1] serving")
    assert shell.ok("start", "shop.py:branching", "[1, 2]", "--wait", "--store", postgres_url) == "[2,4]"
    service.send(signal.SIGTERM)
    assert service.end() == 0
    assert sum("] stopped" in line for line in service.said) == 2
    health = shell.run("health", "--store", postgres_url)
    # The killed one has not been missed yet, if its lease has not ended; those that were told to end are gone at once.
    assert "n-2" not in health.out, health
    assert "partitions held by no live node" in health.out, health


def test_processes_end_when_their_supervisor_is_killed(shell: Shell, postgres_url: str) -> None:
    service = shell.serve("shop.py", "--processes", "2", "--store", postgres_url, "--name", "n")
    for name in ("n-1", "n-2"):
        service.line(f"[{name}] serving")
    service.kill()
    for name in ("n-1", "n-2"):
        service.line(f"[{name}] the supervisor is gone")
        service.line(f"[{name}] stopped")


def test_a_file_that_cannot_be_loaded_ends_all_processes_at_once(shell: Shell, postgres_url: str) -> None:
    service = shell.serve(shell.write("bad.py", "1 / 0"), "--processes", "2", "--store", postgres_url)
    assert service.end() == 2
    assert not [line for line in service.said if "started again" in line]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--processes", "2"), "one node at a time"),
        (("--processes", "0"), "expected at least 1"),
        (("--threads", "0"), "expected at least 1"),
        (("--roles", "actions"), "for actions alone there is perdure worker"),
        (("--roles", "cook"), "for actions alone there is perdure worker"),
        (("--health-port", "taken"), "int"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(shell: Shell, options: tuple[str, ...], said: str) -> None:
    result = shell.run("serve", "shop.py", *options)
    assert (result.code, said in result.err) == (2, True), result


def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = shell.run("serve", "shop.py", "--health-port", port)
    assert (result.code, f"--health-port {port}" in result.err) == (2, True), result


@pytest.mark.covers("I37")
def test_probes_tell_when_a_node_is_ready_and_that_it_drains(shell: Shell) -> None:
    gate, port = shell.gate(), free_port()
    service = shell.serve("shop.py", "--health-port", str(port), "--name", "probed")
    service.line("serving")
    assert get(port, "/live") == (200, {})
    code, health = get(port, "/ready")
    assert (code, health["is_ready"], health["node"], health["partitions"], health["trouble"]) == (200, True, "probed", 1, None)
    assert (get(port, "/other")[0], get(port, "/ready", "POST")[0]) == (404, 405)
    shell.ok("start", "shop.py:through_gate", str(gate), "--id", "slow")
    service.line("at work, attempt 1")
    assert get(port, "/health")[1]["attempts_running"] == 1
    standby_port = free_port()
    standby = shell.serve("shop.py", "--health-port", str(standby_port))
    standby.line("standby")
    assert get(standby_port, "/ready")[0] == 503
    service.send(signal.SIGTERM)
    service.line("draining")
    code, health = get(port, "/ready")
    assert (code, health["is_ready"], health["is_draining"]) == (503, False, True)
    assert get(port, "/live")[0] == 200
    gate.write_text("through")
    assert service.end() == 0


def test_the_api_alone_is_a_client_that_moves_no_runs(shell: Shell) -> None:
    port = free_port()
    service = shell.serve("shop.py", "--roles", "api", "--health-port", str(port))
    service.line("a client of sqlite:///perdure.db: it moves no runs")
    shell.ok("start", "shop.py:doubled", "4", "--id", "d")
    code, health = get(port, "/ready")
    assert (code, health["is_node"]) == (200, False)
    assert shell.run("health").code == 5
    shell.serve("shop.py").line("serving")
    assert shell.ok("result", "d") == "8"
    said = shell.run("health")
    assert (said.code, "live, epoch 1, 1 partition" in said.out) == (0, True), said
