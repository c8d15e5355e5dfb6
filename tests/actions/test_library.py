"""The library as a whole: the demo of the mission, and what every action has in common (F4, F2)."""

from typing import Any

import msgspec
import pytest

import perdure
from perdure import EMPTY, Engine, Retry, actions, errors, workflow
from perdure.deciders.code.definition import default_registry
from perdure.stores.memory import MemoryStore
from perdure.stores.sqlite import SqliteStore
from tests.actions.running import flow, run
from tests.actions.service import Said, Service

PAGE = '<html><h2 class="title">First &amp; best</h2><p>…</p><h2 class="title">Second</h2></html>'


@pytest.mark.covers("F4")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_page_is_scraped_and_what_is_new_is_told_and_the_second_run_ends_empty(service: Service, tmp_path: Any, kind: str) -> None:
    service.route("/news", Said(200, PAGE))
    service.route("/hook", Said(204))
    steps = (
        actions.http(url=f"{service.url}/{{{{ page }}}}", expect=[200, 404]),
        actions.filter_success(),
        actions.html_select(css="h2.title", output="title"),
        actions.new_data(set="news", mode="all", fields=["title"]),
        actions.notify(webhook=actions.Webhook(url=f"{service.url}/hook", json={"titles": "{{ items | map(attribute='title') | list }}"})),
    )
    scrape = flow(*steps)
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "perdure.db")
    async with Engine(store) as engine:
        first = await engine.run(scrape, [{"page": "news"}])
        assert [item["title"] for item in first] == ["First & best", "Second"]
        assert await engine.run(scrape, [{"page": "news"}]) is EMPTY
    assert [got.body for got in service.got if got.path == "/hook"] == [b'{"titles":["First & best","Second"]}']
    await store.close()


@pytest.mark.covers("F4")
async def test_a_page_that_is_not_there_is_an_error_and_is_asked_for_once(service: Service) -> None:
    with pytest.raises(errors.RequestRefused, match="status is 404, expected 200 to 299"):
        await run(actions.http(url=f"{service.url}/{{{{ page }}}}"), [{"page": "gone"}])
    assert service.paths() == ["/gone"]


@pytest.mark.covers("F4", "F2")
def test_a_pattern_that_does_not_compile_is_refused_when_the_definition_is_created() -> None:
    with pytest.raises(errors.InvalidOption, match=r"^regex\.pattern: found '\(a'"):
        actions.regex(pattern="(a")
    with pytest.raises(errors.InvalidOption, match=r"^html_select\.regex"):
        actions.html_select(regex="[")
    with pytest.raises(errors.InvalidOption, match=r"^links\.pattern"):
        actions.links(pattern="*")


@pytest.mark.covers("F2")
@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: actions.http(), "http.url"),
        (lambda: actions.http(url="ftp://x"), "http.url"),
        (lambda: actions.http(url="http://ann:pw@x"), "http.url"),
        (lambda: actions.http(url="http://x/{{"), "http.url"),
        (lambda: actions.http(url="http://x", urll=1), "http.urll"),
        (lambda: actions.http(url="http://x", expect=["200"]), "http.expect[0]"),
        (lambda: actions.http(url="http://x", expect=[20]), "http.expect"),
        (lambda: actions.http(url="http://x", timeout="soon"), "http.timeout"),
        (lambda: actions.http(url="http://x", method="FETCH"), "http.method"),
        (lambda: actions.http(url="http://x", json=object()), "http"),
        (lambda: actions.http(url="http://x", json=1, text="x"), "http.json"),
        (lambda: actions.http(url="http://x", json={"a": ["{{"]}), "http.json.a.0"),
        (lambda: actions.http(url="http://x", headers={"a b": "x"}), "http.headers.a b"),
        (lambda: actions.http(url="http://x", headers={"x": "a\r\nb: c"}), "http.headers.x"),
        (lambda: actions.http(url="http://x", headers={"Authorization": "Bearer x"}), "http.headers.Authorization"),
        (lambda: actions.http(url="http://x", bytes_max=0), "http.bytes_max"),
        (lambda: actions.http(url="http://x", default_value=3), "http.default_value"),
        (lambda: actions.http(url="http://x", paging=actions.NextPath(path="a[")), "http.paging.path"),
        (lambda: actions.http(url="http://x", paging=actions.NextLink(pages_max=0)), "http.paging.pages_max"),
        (lambda: actions.filter_success(statuses=[7]), "filter_success.statuses"),
        (lambda: actions.json_query(operations=[]), "json_query.operations"),
        (lambda: actions.json_query(operations=[actions.Operation(query="a[")]), "json_query.operations[0]"),
        (lambda: actions.json_query(operations=[actions.Operation(query="$[", language="jsonpath")]), "json_query.operations[0]"),
        (lambda: actions.json_query(operations=[actions.Operation()]), "json_query.operations[0]"),
        (lambda: actions.html_select(), "html_select.css"),
        (lambda: actions.html_select(css="a", xpath="//a"), "html_select.css"),
        (lambda: actions.html_select(css="a["), "html_select.css"),
        (lambda: actions.html_select(xpath="//["), "html_select.xpath"),
        (lambda: actions.links(base="here"), "links.base"),
        (lambda: actions.regex(pattern="a", group=1), "regex.group"),
        (lambda: actions.regex(pattern="a" * 20_000), "regex.pattern"),
        (lambda: actions.template(text="{% if %}"), "template.text"),
        (lambda: actions.template(text="{% if a %}x{% endif %}", on_missing="leave_as_is"), "template.text"),
        (lambda: actions.normalize_text(case="title"), "normalize_text.case"),
        (lambda: actions.new_data(set=""), "new_data.set"),
        (lambda: actions.wait(span="0s"), "wait.span"),
        (lambda: actions.notify(), "notify.webhook"),
        (lambda: actions.notify(webhook=actions.Webhook(url="x")), "notify.webhook.url"),
        (lambda: actions.notify(webhook=actions.Webhook(url="http://a:b@x")), "notify.webhook.url"),
        (lambda: actions.run_definition(definition=""), "run_definition.definition"),
        (lambda: actions.group(definitions=[]), "group.definitions"),
        (lambda: actions.Secret("hunter2"), "Secret"),
    ],
)
def test_a_configuration_that_no_call_could_be_made_with_is_refused_at_once_and_names_the_field(make: Any, field: str) -> None:
    with pytest.raises(errors.InvalidOption) as refused:
        make()
    assert refused.value.option == field


@pytest.mark.covers("F2", "F4")
async def test_each_action_can_be_called_by_name_with_plain_json() -> None:
    @workflow(name="actions_by_name")
    async def by_name(text: str) -> Any:
        return await perdure.call("regex", [{"content": text}], config={"pattern": "[0-9]+", "output": "number"})

    async with Engine(MemoryStore()) as engine:
        assert [item["number"] for item in await engine.run(by_name, "a 1 b 22")] == ["1", "22"]


@pytest.mark.covers("F2")
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"url": "{service}/x", "urll": 1}, "urll"),
        ({"url": "{service}/x", "bytes_max": "many"}, "bytes_max"),
        ({"url": "ftp://x"}, "http.url"),
        ({}, "url"),
    ],
)
async def test_a_bad_configuration_by_name_is_refused_before_anything_is_done_and_is_not_tried_again(
    service: Service, config: Any, problem: str
) -> None:
    config = {name: value.format(service=service.url) if isinstance(value, str) else value for name, value in config.items()}

    @workflow(name="actions_by_bad_name")
    async def by_name() -> Any:
        return await perdure.call("http", [{}], config=config)

    async with Engine(MemoryStore()) as engine:
        started = await engine.start(by_name)
        with pytest.raises(errors.Invalid, match=problem.replace(".", r"\.")):
            await started.result()
        facts = [type(entry.fact).__name__ async for entry in started.journal()]
    assert service.got == []
    assert "AttemptFailed" not in facts


async def test_bad_items_are_refused_before_the_action_runs(service: Service) -> None:
    service.route("/", Said(200))
    with pytest.raises(errors.InvalidArguments, match="object"):
        await run(actions.http(url=service.url), ["no item"])  # type: ignore[list-item]
    assert service.got == []


async def test_nothing_found_is_empty_unless_it_shall_be_a_list_or_a_default_item() -> None:
    items = [{"status_code": 500}]
    assert await run(actions.filter_success(), items) is EMPTY
    assert await run(actions.filter_success(return_empty_result=True), items) == []
    assert await run(actions.filter_success(default_value={"none": True}), items) == [{"none": True}]


async def test_a_default_value_of_null_is_not_the_same_as_none_at_all() -> None:
    query = [actions.Operation(query="missing")]
    assert await run(actions.json_query(operations=query, source=""), [{"a": 1}]) is EMPTY
    assert await run(actions.json_query(operations=query, source="", default_value=None), [{"a": 1}]) == [{"a": 1, "value": None}]


async def test_empty_is_handed_on_without_a_call() -> None:
    step = actions.filter_success()

    @workflow(name="actions_empty")
    async def twice() -> Any:
        return await step(await step([{"status_code": 404}]))

    async with Engine(MemoryStore()) as engine:
        started = await engine.start(twice)
        assert await started.result() is EMPTY
        calls = [entry.fact async for entry in started.journal() if type(entry.fact).__name__ == "ActionScheduled"]
    assert len(calls) == 1


def test_importing_the_library_declares_each_action_by_its_name_and_steps_are_nobodys() -> None:
    names = {entry.name for entry in actions.CATALOGUE}
    assert len(names) == 19
    for entry in actions.CATALOGUE:
        assert (default_registry.action(entry.name) is None) == entry.is_step, entry.name
        assert entry.__doc__
    assert {entry.name for entry in actions.CATALOGUE if entry.is_step} == {"wait", "run_definition", "group", "approve"}


def test_each_configuration_has_a_schema_and_is_the_same_after_a_journey() -> None:
    made = [
        actions.http(url="https://x/{{a}}", auth=actions.BearerAuth(token=actions.Secret("env:T")), paging=actions.NextLink()),
        actions.json_query(operations=[actions.Operation(query="a")], default_value=None),
        actions.notify(webhook=actions.Webhook(url=actions.Secret("file:/run/hook"))),
    ]
    for step in made:
        text = msgspec.json.encode(step.config)
        assert msgspec.json.decode(text, type=type(step.config)) == step.config
    for entry in actions.CATALOGUE:
        assert msgspec.json.schema(entry.config)


async def test_options_of_a_configured_action_hold_for_its_calls_and_steps_have_none(service: Service) -> None:
    service.route("/", Said(503), Said(503), Said(200, "there"))
    fetch = actions.http(url=service.url).options(retry=Retry(attempts=3, first="1ms"))
    assert (await run(fetch, [{}]))[0]["content"] == "there"
    with pytest.raises(errors.Unsupported, match="makes no call"):
        actions.wait(span="1s").options(retry=Retry())
