"""Personal data: what leaves, what is written down, and what comes back (F17)."""

import os
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from perdure import EMPTY, Engine, GiveUp, action, actions, errors, workflow
from perdure.actions.personal.finding import replace_at, replace_detected
from perdure.control.erasure import erase
from perdure.model.personal import PERSONAL, PERSONAL_KEYS, TOKEN
from perdure.stores.memory import MemoryStore
from tests.actions.running import run
from tests.actions.service import Got, Said, Service
from tests.stores import bytes_at_rest

MAIL, PHONE, NAME = "ann.lee@example.com", "+49 171 1234567", "Ann Lee"
RAW = (MAIL, PHONE, NAME, "ann.lee%40example.com", "ann.lee", "1234567")
PERSON = {"customer": {"name": NAME, "email": MAIL}, "phones": [PHONE], "age": 41, "note": f"call {PHONE} or {MAIL}"}
FIELDS = ["customer.name", "customer.email", "phones.*", "age"]


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a master key."""
    monkeypatch.setenv("PERDURE_PERSONAL_KEY", b64encode(os.urandom(32)).decode())


@workflow
async def score_and_tell(items: list[dict[str, Any]], scorer: str, crm: str) -> Any:
    scored = await actions.http(url=f"{scorer}/score", method="POST", json={"who": "{{ customer.email }}", "text": "{{ note }}"})(items)
    told = actions.http(
        url=f"{crm}/people/{{{{ customer.email }}}}",
        method="PUT",
        json={"name": "{{ customer.name }}", "age": "{{ age }}", "phone": "{{ phones[0] }}", "score": "{{ content }}"},
    )
    return await actions.reidentify(into=told)(scored)


def echo(got: Got) -> Said:
    return Said(200, got.body)


@pytest.mark.covers("F17")
async def test_no_raw_value_is_at_the_service_or_in_the_store_and_the_sink_has_them_all(
    service: Service, other: Service, disk_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    service.route("/score", Said(200, "7"))
    other.route("/people/ann.lee%40example.com", echo)
    async with Engine(disk_url) as engine:
        items = await actions.pseudonymise_input(engine, [PERSON], run="r", fields=FIELDS, detect=["email", "phone"])
        started = await engine.start(score_and_tell.options(id="r"), items, service.url, other.url)
        result = await started.result()
        assert msgspec.json.decode(other.got[0].body) == {"name": NAME, "age": 41, "phone": PHONE, "score": "7"}
        sent = repr(service.got)
        kept = await bytes_at_rest(disk_url)
        assert all(token.encode() in kept for token in TOKEN.findall(sent)), "what is there is found"
        for raw in RAW:
            assert raw not in sent
            assert raw.encode() not in kept
            assert raw not in repr(result)
            assert raw not in caplog.text.replace(f"{other.url}/people/ann.lee", "")
        assert TOKEN.search(sent)
        assert await actions.reidentify_output(engine, [result[0]["customer"]], run="r") == [PERSON["customer"]]
    kept = await bytes_at_rest(disk_url)
    assert not [raw for raw in RAW if raw.encode() in kept]


@pytest.mark.covers("F17")
async def test_once_the_key_is_erased_no_table_has_a_value_or_the_key_or_what_was_sealed_with_it(renewed_postgres_url: str) -> None:
    @workflow(name="hides")
    async def hides() -> Any:
        return await fetches()

    @action(name="fetches")
    async def fetches() -> Any:
        return await actions.hide([{"email": MAIL, "phone": PHONE}], fields=["email", "phone"])

    async with Engine(renewed_postgres_url) as engine:
        hidden = await engine.run(hides.options(id="r"))
        neighbour = await engine.run(hides.options(id="r/2"))
        key = (await engine.store.read(PERSONAL_KEYS, ["r"]))["r"].value
        sealed = [record.value for record in await engine.store.scan(PERSONAL) if not record.key.startswith("r/2/")]
        assert len(sealed) == 2
        before = await bytes_at_rest(renewed_postgres_url)
        assert all(value in before for value in (key, *sealed)), "what is there is found"
        assert await erase(engine.store, "r") == 2
        with pytest.raises(errors.PersonalDataErased):
            await actions.reidentify_output(engine, hidden, run="r")
        assert await actions.reidentify_output(engine, neighbour, run="r/2") == [{"email": MAIL, "phone": PHONE}]
    after = await bytes_at_rest(renewed_postgres_url)
    assert not [value for value in (key, *sealed, *(raw.encode() for raw in RAW)) if value in after]
    assert b"erased" in after


@pytest.mark.covers("F17")
async def test_the_same_value_has_one_token_in_a_run_and_another_in_the_next(store_url: str) -> None:
    async with Engine(store_url) as engine:

        async def token(run: str) -> str:
            (item,) = await actions.pseudonymise_input(engine, [{"email": MAIL}], run=run, fields=["email"])
            return str(item["email"])

        assert await token("a") == await token("a")
        assert await token("a") != await token("b")
        assert TOKEN.fullmatch(await token("a"))


@pytest.mark.covers("F17")
@pytest.mark.parametrize("key", [None, "", "c2hvcnQ=", "not base64 at all"])
async def test_without_a_master_key_there_is_no_call(
    service: Service, monkeypatch: pytest.MonkeyPatch, key: str | None, store_url: str
) -> None:
    monkeypatch.delenv("PERDURE_PERSONAL_KEY") if key is None else monkeypatch.setenv("PERDURE_PERSONAL_KEY", key)
    service.route("/score", Said(200))

    @workflow(name="keyless")
    async def keyless(items: list[dict[str, Any]]) -> Any:
        hidden = await actions.pseudonymise(fields=["email"])(items)
        return await actions.http(url=f"{service.url}/score", method="POST", json="{{ email }}")(hidden)

    async with Engine(store_url) as engine:
        with pytest.raises((GiveUp, errors.PerdureError), match="PERDURE_PERSONAL_KEY") as raised:
            await engine.run(keyless, [{"email": MAIL}])
        assert not key or key not in str(raised.value)
        with pytest.raises(Exception, match="PERDURE_PERSONAL_KEY"):
            await actions.pseudonymise_input(engine, [{"email": MAIL}], run="r", fields=["email"])
        assert await engine.store.scan(PERSONAL) == []
    assert service.got == []


@pytest.mark.covers("F17")
async def test_with_another_master_key_nothing_is_sent(service: Service, monkeypatch: pytest.MonkeyPatch, store_url: str) -> None:
    async with Engine(store_url) as engine:
        items = await actions.pseudonymise_input(engine, [{"email": MAIL}], run="r", fields=["email"])
        monkeypatch.setenv("PERDURE_PERSONAL_KEY", b64encode(b"x" * 32).decode())
        with pytest.raises(errors.PersonalDataUnreadable, match="not the master key"):
            await engine.run(_told(service).options(id="r"), items)
    assert service.got == []


@pytest.mark.covers("F17")
async def test_once_the_key_is_erased_nothing_comes_back_and_nothing_new_is_taken(service: Service, store_url: str) -> None:
    async with Engine(store_url) as engine:
        items = await actions.pseudonymise_input(engine, [{"email": MAIL}], run="r", fields=["email"])
        neighbour = await actions.pseudonymise_input(engine, [{"email": MAIL}], run="r/2", fields=["email"])
        assert await erase(engine.store, "r") == 1
        assert await erase(engine.store, "r") == 0
        with pytest.raises(errors.PersonalDataErased, match="its key was erased"):
            await engine.run(_told(service).options(id="r"), items)
        with pytest.raises(errors.PersonalDataErased):
            await actions.pseudonymise_input(engine, [{"email": MAIL}], run="r", fields=["email"])
        assert await actions.reidentify_output(engine, neighbour, run="r/2") == [{"email": MAIL}]
        assert [record.value for record in await engine.store.scan(PERSONAL_KEYS, limit=1)] == [b"erased"]
    assert service.got == []


def _told(service: Service) -> Any:
    @workflow(name="told")
    async def told(items: list[dict[str, Any]]) -> Any:
        return await actions.reidentify(into=actions.http(url=f"{service.url}/tell", method="POST", json="{{ email }}"))(items)

    return told


@pytest.mark.covers("F17")
async def test_tokens_of_another_run_are_not_put_back(service: Service, store_url: str) -> None:
    service.route("/tell", echo)
    async with Engine(store_url) as engine:
        (foreign,) = await actions.pseudonymise_input(engine, [{"email": MAIL}], run="other", fields=["email"])
        await actions.pseudonymise_input(engine, [{"email": "b@example.com"}], run="r", fields=["email"])
        await engine.run(_told(service).options(id="r"), [foreign])
    assert msgspec.json.decode(service.got[0].body) == foreign["email"]


@pytest.mark.covers("F17")
async def test_what_the_sink_answers_and_how_it_fails_shows_no_original(service: Service, store_url: str) -> None:
    async with Engine(store_url) as engine:
        items = await actions.pseudonymise_input(engine, [{"email": MAIL}], run="r", fields=["email"])
        service.route("/tell", lambda got: Said(400, f"{MAIL} is unknown, and so is ann.lee%40example.com"))
        with pytest.raises(errors.PerdureError) as refused:
            await engine.run(_told(service).options(id="r"), items)
        journal = [msgspec.json.encode(entry.fact) async for entry in engine.get("r").journal()]
        assert MAIL not in str(refused.value)
        assert b"ann.lee" not in b"".join(journal)


@pytest.mark.covers("F17")
async def test_your_own_actions_hide_what_they_fetch_and_see_the_originals(store_url: str) -> None:
    seen: list[Any] = []

    @action(name="fetch")
    async def fetch() -> list[dict[str, Any]]:
        return await actions.hide([{"email": MAIL, "age": 41}], fields=["email", "age"])

    @action(name="store_away")
    async def store_away(items: list[dict[str, Any]]) -> int:
        seen.extend(await actions.reveal(items))
        return len(items)

    @workflow(name="own")
    async def own() -> int:
        return await store_away(await fetch())

    async with Engine(store_url) as engine:
        started = await engine.start(own)
        assert await started.result() == 1
        journal = b"".join([msgspec.json.encode(entry.fact) async for entry in started.journal()])
    assert seen == [{"email": MAIL, "age": 41}]
    assert MAIL.encode() not in journal


async def test_originals_go_into_the_journal_only_when_that_is_asked_for() -> None:
    @workflow(name="open_book")
    async def open_book(items: list[dict[str, Any]]) -> Any:
        hidden = await actions.pseudonymise(fields=["email"])(items)
        return [hidden, await actions.reidentify(journals_originals=True)(hidden)]

    async with Engine(MemoryStore()) as engine:
        hidden, back = await engine.run(open_book, [{"email": MAIL}])
    assert back == [{"email": MAIL}] != hidden
    for options in ({}, {"into": actions.http(url="http://x"), "journals_originals": True}):
        with pytest.raises(errors.InvalidOption, match=r"reidentify\.into"):
            actions.reidentify(**options)
    with pytest.raises(errors.InvalidOption, match=r"reidentify\.into"):
        actions.reidentify(into=actions.wait(span="1s"))


async def test_values_may_be_of_any_type_absent_null_or_tokens_already(store_url: str) -> None:
    items = [{"a": 5, "b": None, "c": {"x": [1]}, "d": "px_" + "0" * 32}]
    async with Engine(store_url) as engine:
        hidden = await actions.pseudonymise_input(engine, items, run="r", fields=["a", "b", "c", "d", "gone.deep"])
        assert (hidden[0]["b"], hidden[0]["d"]) == (None, items[0]["d"])
        assert TOKEN.fullmatch(hidden[0]["a"])
        assert await actions.reidentify_output(engine, hidden, run="r") == items
        text = f"size {hidden[0]['a']}!"
        assert await actions.reidentify_output(engine, {text: text}, run="r") == {"size 5!": "size 5!"}


async def test_a_record_that_was_changed_or_moved_is_not_read(store_url: str) -> None:
    from perdure.ports.records import RecordChange

    async with Engine(store_url) as engine:
        items = await actions.pseudonymise_input(engine, [{"a": "one", "b": "two"}], run="r", fields=["a", "b"])
        first, second = await engine.store.scan(PERSONAL)
        await engine.store.write([RecordChange(PERSONAL, first.key, second.value)])
        with pytest.raises(errors.PersonalDataUnreadable, match="damaged"):
            await actions.reidentify_output(engine, items, run="r")


async def test_nothing_in_is_nothing_out() -> None:
    assert await run(actions.pseudonymise(fields=["a"]), []) is EMPTY


@pytest.mark.parametrize("options", [{}, {"fields": [""]}, {"fields": ["a..b"]}, {"detect": ["name"]}, {"fields": ["a"], "key": "plain"}])
def test_what_says_nothing_to_replace_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOption, match="pseudonymise"):
        actions.pseudonymise(**options)


def test_paths_reach_into_lists_and_objects() -> None:
    value = {"a": [{"b": 1}, {"b": 2}, 3], "c": {"x": 1, "y": 2}}
    assert replace_at(value, "a.*.b", str) == {"a": [{"b": "1"}, {"b": "2"}, 3], "c": {"x": 1, "y": 2}}
    assert replace_at(value, "a.1.b", str)["a"][1] == {"b": "2"}
    assert replace_at(value, "c.*", str)["c"] == {"x": "1", "y": "2"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail a.b+c@mail.example.org.", "mail #."),
        ("call +49 (171) 123-4567 now", "call # now"),
        ("call 0171 1234567", "call #"),
        ("order 20261121 of 12.50, 2026-11-21 10:15", "order 20261121 of 12.50, 2026-11-21 10:15"),
        ("px_" + "0" * 32, "px_" + "0" * 32),
    ],
)
def test_mails_and_phone_numbers_are_found_in_texts(text: str, expected: str) -> None:
    assert replace_detected(text, ["email", "phone"], lambda found: "#") == expected
