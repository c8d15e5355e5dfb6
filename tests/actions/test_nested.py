"""Waits, and definitions inside definitions: durable, without a slot, delivered once (F11, F12, F25)."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from perdure import EMPTY, Limits, action, actions, errors, signal, workflow
from perdure.testing.env import Environment
from tests.engine.stores import STORES, AnyStore

go = signal("nested_go", int)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Any) -> AnyStore:
    """Each store in turn, new and closed."""
    return STORES[request.param](tmp_path)


@workflow(name="nested_ok")
async def ok(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"n": item["n"] + 1} for item in items]


@workflow(name="nested_nothing")
async def nothing(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return EMPTY  # type: ignore[no-any-return]


@workflow(name="nested_fails")
async def fails(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    raise ValueError("no luck")


@workflow(name="nested_waits")
async def waits(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"n": await go.receive()}]


after = actions.wait(span="1h")


@workflow(name="nested_delayed")
async def delayed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return await after(items)


one = actions.run_definition(definition="nested_waits")


@workflow(name="nested_parent")
async def parent(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return await one(items)


@workflow(name="nested_chosen")
async def chosen(definition: str) -> Any:
    (found,) = await actions.run_definition(definition=definition)([{"n": 1}])
    return found["type"], found.get("data"), found.get("message"), found["run"] is not None


several = actions.group(definitions=["nested_ok", "nested_waits", "nested_nothing", "nested_nowhere", "nested_fails"])


@workflow(name="nested_group")
async def grouped(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return await several(items)


@pytest.mark.covers("F25", "F4")
async def test_a_wait_of_an_hour_ends_when_it_is_due_over_crashes_and_holds_no_slot() -> None:
    async with Environment(limits=Limits(attempts_running_max=1)) as env:
        began = env.now
        run = await env.engine.start(delayed.options(id="w"), [{"n": 1}])
        await env.advance("20m")
        await env.crash()
        await env.advance("39m")
        await env.crash()
        assert not (await env.engine.get(run.id).status()).is_final
        assert (await env.engine.health()).attempts_running == 0
        assert await env.finish(env.engine.get(run.id)) == [{"n": 1}]
        assert timedelta(hours=1) <= env.now - began < timedelta(hours=1, minutes=1)
        kinds = [type(entry.fact).__name__ async for entry in env.engine.get(run.id).journal()]
    assert "ActionScheduled" not in kinds
    assert kinds.count("TimerFired") == 1


@pytest.mark.covers("F11")
@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("nested_ok", ["data", [{"n": 2}], None, True]),
        ("nested_nothing", ["empty", [], None, True]),
        ("nested_fails", ["error", None, "ValueError: no luck", True]),
        ("nested_nowhere", ["error", None, "workflow 'nested_nowhere' is not registered here", False]),
    ],
)
async def test_how_a_child_ended_is_data_for_its_parent(store: AnyStore, definition: str, expected: Any) -> None:
    async with Environment(store) as env:
        kind, data, message, is_started = await env.engine.run(chosen, definition)
    assert [kind, data, is_started] == [expected[0], expected[1], expected[3]]
    assert (message or "").startswith(expected[2] or "")


@pytest.mark.covers("F11")
async def test_a_node_that_dies_between_the_end_of_a_child_and_its_parent_resumes_it_once(store: AnyStore) -> None:
    async with Environment(store, limits=Limits(runs_idle_max=0)) as env:
        run = await env.engine.start(parent.options(id="p"), [{"n": 1}])
        await env.settle()
        child = (await env.engine.list(parent="p"))[0].id
        sent = asyncio.ensure_future(env.engine.get(child).send(go, 5))
        await asyncio.sleep(0)
        await env.crash()
        await asyncio.gather(sent, return_exceptions=True)
        if not (await env.engine.get(child).status()).is_final:
            await env.engine.get(child).send(go, 5)
        assert await env.engine.get(run.id).result() == [{"definition": "nested_waits", "run": child, "type": "data", "data": [{"n": 5}]}]
        assert len(await env.engine.list(definition="nested_waits")) == 1
        kinds = [type(entry.fact).__name__ async for entry in env.engine.get(run.id).journal()]
    assert kinds.count("ChildCompleted") == 1


@pytest.mark.covers("F12")
async def test_a_group_ends_when_all_have_and_lists_them_in_order_and_one_that_cannot_start_is_an_error(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(grouped.options(id="g"), [{"n": 1}])
        await env.settle()
        await env.crash()
        assert not (await env.engine.get(run.id).status()).is_final
        children = await env.engine.list(parent="g")
        assert sorted(row.definition for row in children) == ["nested_fails", "nested_nothing", "nested_ok", "nested_waits"]
        last = next(row.id for row in children if row.definition == "nested_waits")
        await env.engine.get(last).send(go, 9)
        found = await env.engine.get(run.id).result()
        assert len(await env.engine.list(parent="g")) == 4
    assert [entry["definition"] for entry in found] == ["nested_ok", "nested_waits", "nested_nothing", "nested_nowhere", "nested_fails"]
    assert [entry["type"] for entry in found] == ["data", "data", "empty", "error", "error"]
    assert (found[0]["data"], found[1]["data"]) == ([{"n": 2}], [{"n": 9}])


async def test_arguments_that_a_member_does_not_take_make_it_an_error() -> None:
    @workflow(name="nested_other")
    async def other(number: int) -> int:
        return number

    async with Environment() as env:
        kind, _, message, is_started = await env.engine.run(chosen, "nested_other")
    assert (kind, is_started) == ("error", False)
    assert "other(number: int)" in message


@pytest.mark.covers("F12")
@pytest.mark.parametrize("outer", [grouped, parent])
async def test_a_cancel_reaches_the_members_and_is_no_error_of_theirs(outer: Any) -> None:
    async with Environment() as env:
        run = await env.engine.start(outer.options(id="g"), [{"n": 1}])
        await env.settle()
        await run.cancel("enough")
        with pytest.raises(errors.RunCancelled):
            await env.finish(run)
        await env.settle()
        assert {row.status.value for row in await env.engine.list(definition="nested_waits")} == {"cancelled"}


async def test_a_child_that_is_cancelled_is_an_error_to_its_parent() -> None:
    async with Environment() as env:
        run = await env.engine.start(parent.options(id="p"), [{"n": 1}])
        await env.settle()
        child = (await env.engine.list(parent="p"))[0].id
        await env.engine.get(child).cancel("enough")
        (found,) = await env.finish(run)
    assert (found["type"], "cancelled" in found["message"]) == ("error", True)


@pytest.mark.parametrize("step", [after, one, several])
def test_outside_a_workflow_a_step_says_whose_it_is(step: Any) -> None:
    with pytest.raises(errors.Unsupported, match="by the workflow itself"):
        step([{}])


async def test_a_pack_of_ones_own_is_configured_like_the_library() -> None:
    class Suffix(actions.Options, frozen=True, kw_only=True):
        text: str

    @action(name="nested_suffix")
    async def suffix(items: list[dict[str, Any]], *, config: Suffix) -> list[dict[str, Any]]:
        return [{"text": item["text"] + config.text} for item in items]

    make = actions.configurable(suffix, Suffix)
    exclaim = make(text="!")

    @workflow(name="nested_pack")
    async def pack(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return await exclaim(items)

    with pytest.raises(errors.InvalidOption, match=r"^nested_suffix\.text"):
        make(text=3)  # type: ignore[arg-type]
    async with Environment() as env:
        assert await env.engine.run(pack, [{"text": "Hi"}]) == [{"text": "Hi!"}]
