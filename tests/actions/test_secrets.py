"""A secret is read where it is used, and is nowhere else: in no journal, log, error or repr."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Engine, GiveUp, Retry, actions, errors
from perdure.actions.secret import Secret, Veil, unveiling
from tests.actions.running import flow, run
from tests.actions.service import Got, Said, Service
from tests.stores import bytes_at_rest

TOKEN = 'tok-5f1e77/+ä"x'
PASSWORD = "pass word&1"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give the reference to a file with a password; the token is in the environment."""
    monkeypatch.setenv("TEST_TOKEN", "tok-5f1e77-abcdef")
    (tmp_path / "password").write_text("hunter2-hunter2\n")
    return f"file:{tmp_path}/password"


def echo(got: Got) -> Said:
    """A service that repeats everything it is told."""
    body = json.dumps({"headers": got.headers, "query": got.query, "body": got.body.decode()})
    return Said(200, body, {"Content-Type": "application/json", "X-Echo": got.headers.get("authorization", "")})


async def test_secrets_reach_the_service_in_every_place_they_may_stand(service: Service, secrets: str) -> None:
    service.route("/", echo)
    token, password = actions.Secret("env:TEST_TOKEN"), actions.Secret(secrets)
    await run(actions.http(url=service.url, auth=actions.BearerAuth(token=token)), [{}])
    await run(actions.http(url=service.url, auth=actions.BasicAuth(user="ann", password=password)), [{}])
    await run(actions.http(url=service.url, auth=actions.HeaderAuth(name="X-Key", value=token, prefix="k ")), [{}])
    await run(actions.http(url=service.url, headers={"Cookie": token}, query={"key": password, "a": "b"}), [{}])
    await run(actions.http(url=service.url, method="POST", form={"password": password}), [{}])
    bearer, basic, header, query, form = service.got
    assert bearer.headers["authorization"] == "Bearer tok-5f1e77-abcdef"
    assert basic.headers["authorization"] == "Basic YW5uOmh1bnRlcjItaHVudGVyMg=="
    assert header.headers["x-key"] == "k tok-5f1e77-abcdef"
    assert (query.headers["cookie"], query.query) == ("tok-5f1e77-abcdef", {"a": ["b"], "key": ["hunter2-hunter2"]})
    assert form.body == b"password=hunter2-hunter2"


@pytest.mark.covers("F18")
@pytest.mark.parametrize("status", [200, 404, 503])
async def test_no_byte_of_the_store_no_line_of_the_log_and_no_error_has_a_secret(
    service: Service, secrets: str, disk_url: str, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(0)
    service.route("/", lambda got: echo(got)._replace(status=status))
    token, password = actions.Secret("env:TEST_TOKEN"), actions.Secret(secrets)
    step = actions.http(
        url=service.url,
        method="POST",
        headers={"X-Api-Key": token},
        query={"key": password},
        auth=actions.BasicAuth(user=token, password=password),
        form={"password": password},
    ).options(retry=Retry(attempts=2, first="1ms"))
    told = ""
    async with Engine(disk_url) as engine:
        started = await engine.start(flow(step), [{}])
        try:
            told = json.dumps(await started.result())
        except errors.PerdureError as error:
            told = repr(error) + str(error) + "".join(getattr(error, "__notes__", ()))
        told += "".join([repr(entry) async for entry in started.journal()]) + repr(step) + repr(await started.why())
    assert len(service.got) == (2 if status == 503 else 1)
    assert "tok-5f1e77-abcdef" in service.got[0].headers["x-api-key"]
    kept = await bytes_at_rest(disk_url)
    assert b"TEST_TOKEN" in kept
    logged = "".join(record.getMessage() + (record.exc_text or "") for record in caplog.records)
    assert "HTTP Request: POST" in logged
    for hidden in ("tok-5f1e77", "hunter2", "dG9rLTVmMWU3Ny1h"):
        assert hidden.encode() not in kept, hidden
        assert hidden not in logged, hidden
        assert hidden not in told, hidden


async def test_a_redirect_to_another_service_is_followed_without_the_secrets(service: Service, other: Service) -> None:
    token = actions.Secret("env:TEST_TOKEN")
    service.route("/", Said(302, "", {"Location": f"{other.url}/"}))
    service.route("/near", Said(302, "", {"Location": "/there"}))
    service.route("/there", echo)
    other.route("/", echo)
    step = actions.http(url="{{ url }}", headers={"X-Api-Key": token}, query={"key": token}, auth=actions.BearerAuth(token=token))
    await run(step, [{"url": service.url}])
    assert "x-api-key" not in other.got[0].headers
    assert "authorization" not in other.got[0].headers
    assert other.got[0].query == {}
    await run(step, [{"url": f"{service.url}/near"}])
    assert service.got[-1].headers["x-api-key"] == "tok-5f1e77-abcdef"


async def test_a_next_page_elsewhere_is_asked_for_without_the_secrets(service: Service, other: Service) -> None:
    token = actions.Secret("env:TEST_TOKEN")
    service.route("/", Said(200, "", {"Link": f"<{other.url}/2>; rel=next"}))
    other.route("/2", Said(200))
    step = actions.http(url=service.url, auth=actions.BearerAuth(token=token), paging=actions.NextLink())
    assert len(await run(step, [{}])) == 2
    assert "authorization" in service.got[0].headers
    assert "authorization" not in other.got[0].headers


async def test_a_webhook_whose_url_is_the_secret_is_called_and_not_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    service.route("/services/T0-very-secret", Said(200))
    monkeypatch.setenv("TEST_HOOK", f"{service.url}/services/T0-very-secret?k=1")
    step = actions.notify(webhook=actions.Webhook(url=actions.Secret("env:TEST_HOOK")))
    assert await run(step, [{"a": 1}]) == [{"a": 1}]
    assert (service.got[0].query, service.got[0].headers["host"]) == ({"k": ["1"]}, service.url.removeprefix("http://"))
    service.route("/services/T0-very-secret", Said(403, "no"))
    with pytest.raises(errors.RequestRefused, match="POST the URL in env:TEST_HOOK was refused") as refused:
        await run(step, [{"a": 1}])
    assert "T0-very-secret" not in str(refused.value) + "".join(record.getMessage() for record in caplog.records)
    for url in ("no url", "ftp://x/T0-very-secret"):
        monkeypatch.setenv("TEST_HOOK", url)
        with pytest.raises(errors.RequestRefused) as refused:
            await run(step, [{"a": 1}])
        assert url not in str(refused.value)


@pytest.mark.parametrize("reference", ["env:TEST_NOWHERE", "file:/nowhere/at/all"])
async def test_a_secret_that_is_not_there_fails_the_call_at_once_and_names_the_reference(service: Service, reference: str) -> None:
    step = actions.http(url=service.url, auth=actions.BearerAuth(token=actions.Secret(reference)))
    with pytest.raises(errors.SecretNotFound, match=reference):
        await run(step, [{}])
    assert service.got == []


@pytest.mark.parametrize("value", ["", "two\nlines", "nul\x00"])
async def test_a_secret_that_is_no_line_of_text_is_refused_without_showing_it(service: Service, tmp_path: Path, value: str) -> None:
    (tmp_path / "odd").write_text(value)
    step = actions.http(url=service.url, auth=actions.BearerAuth(token=actions.Secret(f"file:{tmp_path}/odd")))
    with pytest.raises(errors.SecretNotFound, match="not one line of text") as refused:
        await run(step, [{}])
    assert not value or value not in str(refused.value)


@pytest.mark.parametrize("given", ["hunter2", "env:", "file:relative/hunter2", "https://hunter2", ""])
def test_what_is_no_reference_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(errors.InvalidOption) as refused:
        Secret(given)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(errors.InvalidOption):
        msgspec.json.decode(msgspec.json.encode({"secret": given}), type=Secret)


async def test_an_error_of_a_library_that_shows_a_secret_comes_out_without_it() -> None:
    def fails(veil: Veil) -> Any:
        try:
            raise ValueError(f"no {veil.reveal(Secret('env:TEST_TOKEN'))} here")
        except ValueError as error:
            raise KeyError("later") from error

    with pytest.raises(errors.ActionFailed) as failed, unveiling() as veil:
        fails(veil)
    assert (failed.value.type, failed.value.__cause__) == ("builtins:KeyError", None)
    assert "tok-5f1e77" not in str(failed.value)
    with pytest.raises(GiveUp), unveiling():
        raise GiveUp("plain")


@pytest.mark.parametrize("value", [TOKEN, PASSWORD])
def test_a_secret_is_hidden_however_it_is_written(value: str) -> None:
    from base64 import b64encode
    from urllib.parse import quote, quote_plus

    veil = Veil()
    veil.cover(value)
    for written in (
        value,
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value, ensure_ascii=False),
        b64encode(value.encode()).decode(),
    ):
        assert value not in veil.hide(f"a {written} b")
        assert veil.hide(f"a {written} b").replace('"', "") == "a ••• b"
    assert veil.hide_echo({"a": [value, 1, None]}) == {"a": ["•••", 1, None]}
