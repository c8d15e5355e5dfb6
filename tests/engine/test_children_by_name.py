"""Children that a workflow starts by name (I28, F11)."""

from typing import Any

import pytest

import perdure
from perdure import Registry, errors, signal, workflow
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore

go = signal("by_name_go", int)


@workflow(name="by_name_parent")
async def parent(name: str, argument: Any, on_missing: Any = "fail") -> Any:
    try:
        started = perdure.child(name, argument, on_missing=on_missing)
    except perdure.PerdureError as error:
        return f"{type(error).__name__}: {error}"
    return {"id": started.id, "value": await started}


@workflow(name="by_name_child")
async def waits(number: int) -> int:
    return number + await go.receive()


@pytest.mark.covers("F11")
async def test_a_child_is_started_by_name_and_its_result_is_taken_once_over_a_crash(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(parent.options(id="p"), "by_name_child", 1)
        await env.settle()
        await env.crash()
        child = (await env.engine.list(parent="p"))[0].id
        await env.engine.get(child).send(go, 41)
        assert await env.engine.get(run.id).result() == {"id": child, "value": 42}
        assert len(await env.engine.list(definition="by_name_child")) == 1


async def test_a_name_that_nothing_has_is_an_error_where_it_shall_fail_and_starts_nothing(store: AnyStore) -> None:
    async with Environment(store) as env:
        answer = await env.engine.run(parent, "by_name_nowhere", 1)
        assert answer.startswith("DefinitionNotFound: workflow 'by_name_nowhere'")
        assert await env.engine.list(definition="by_name_nowhere") == []


async def test_arguments_that_a_known_definition_does_not_take_start_nothing(store: AnyStore) -> None:
    async with Environment(store) as env:
        assert "InvalidArguments" in await env.engine.run(parent, "by_name_child", "a text")
        assert await env.engine.list(definition="by_name_child") == []


async def test_a_child_whose_code_is_nowhere_waits_for_it_and_then_runs() -> None:
    registry = Registry()
    workflow(name="by_name_parent", registry=registry)(parent.function)
    async with Environment(registry=registry) as env:
        run = await env.engine.start("by_name_parent", "by_name_late", 20, "wait")
        await env.settle()

        @workflow(name="by_name_late", version=3, registry=registry)
        async def late(number: int) -> int:
            return number * 2

        await env.settle()
        assert (await env.finish(run))["value"] == 40


async def test_what_a_name_meant_when_the_child_began_stays_so_on_replay() -> None:
    registry = Registry()
    workflow(name="by_name_parent", registry=registry)(parent.function)
    workflow(name="by_name_child", registry=registry)(waits.function)
    async with Environment(registry=registry) as env:
        run = await env.engine.start("by_name_parent", "by_name_child", 1)
        missing = await env.engine.run("by_name_parent", "by_name_other", 1)

        @workflow(name="by_name_child", version=2, registry=registry)
        async def changed(number: str) -> int:
            return 0

        @workflow(name="by_name_other", registry=registry)
        async def other(number: int) -> int:
            return 0

        await env.crash()
        child = (await env.engine.list(definition="by_name_child"))[0]
        await env.engine.get(child.id).send(go, 1)
        assert (await env.finish(env.engine.get(run.id)))["value"] == 2
        assert "DefinitionNotFound" in missing


async def test_a_child_by_name_outside_a_workflow_is_refused() -> None:
    with pytest.raises(errors.Unsupported, match=r"engine\.start"):
        perdure.child("by_name_child", 1)
