"""``perdure api``, ``perdure serve --api`` and ``perdure token``: what they open, for whom, and how they end."""

import signal
import urllib.error
import urllib.request

import msgspec
import pytest

from tests.surfaces.processes import Service, Shell


def url_in(service: Service) -> str:
    return service.line("the API answers at").rpartition(" ")[2]


def ask(url: str, body: object = None, token: str = "") -> tuple[int, object]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else msgspec.json.encode(body)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data, headers), timeout=20) as answer:
            return answer.status, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, msgspec.json.decode(error.read())


def test_a_node_answers_the_api_and_stops_when_it_is_told_to(shell: Shell) -> None:
    service = shell.serve("shop.py", "--api", "127.0.0.1:0")
    url = url_in(service)
    assert ask(f"{url}/v1/runs", {"definition": "doubled", "args": [4], "id": "four"})[0] == 201
    status, result = ask(f"{url}/v1/runs/four/result?wait_ms=20000")
    assert (status, result) == (200, {"id": "four", "status": "completed", "value": 8, "error": None})
    service.send(signal.SIGTERM)
    assert service.end() == 0


def test_the_api_in_a_process_of_its_own_reaches_the_node_through_the_store(shell: Shell) -> None:
    shell.serve("shop.py").line("serving")
    service = shell.begin("api", "--listen", "127.0.0.1:0")
    url = url_in(service)
    assert ask(f"{url}/ready")[0] == 200
    assert ask(f"{url}/v1/runs", {"definition": "doubled", "args": [5], "id": "five"})[0] == 201
    status, result = ask(f"{url}/v1/runs/five/result?wait_ms=20000")
    assert status == 200
    assert isinstance(result, dict)
    assert result["value"] == 10
    service.send(signal.SIGTERM)
    assert service.end() == 0
    assert "stopped" in service.said[-1]


def test_tokens_are_made_listed_revoked_and_asked_for(shell: Shell) -> None:
    token = shell.ok("token", "create", "ci", "--scopes", "runs:read,calls", "--expires", "30d")
    assert token.startswith("perdure_ci.")
    listed = shell.ok("token", "list")
    assert "ci  runs:read,calls  valid  until" in listed
    assert token.rpartition(".")[2] not in listed + shell.ok("token", "list", "--json")
    service = shell.begin("api", "--listen", "127.0.0.1:0")
    url = url_in(service)
    assert ask(f"{url}/v1/runs")[0] == 401
    assert ask(f"{url}/v1/runs", token=token) == (200, {"runs": [], "next": None})
    assert ask(f"{url}/v1/runs", {"definition": "doubled"}, token)[0] == 403
    shell.ok("token", "revoke", "ci")
    assert "revoked" in shell.ok("token", "list")
    said = shell.run("token", "revoke", "nobody")
    assert (said.code, "nobody" in said.err) == (3, True)
    assert shell.run("token", "create", "x", "--scopes", "root").code == 2


@pytest.mark.parametrize("command", [("api", "--listen"), ("serve", "shop.py", "--api")])
def test_without_a_token_the_api_is_not_opened_to_other_machines(shell: Shell, command: tuple[str, ...]) -> None:
    said = shell.run(*command, "0.0.0.0:0")
    assert said.code == 2
    assert "0.0.0.0:0" in said.err
    assert "perdure token create" in said.err
    assert "Traceback" not in said.err
    assert shell.run(*command, "nonsense").code == 2
