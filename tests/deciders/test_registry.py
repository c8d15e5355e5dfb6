"""Two definitions of one name: neither wins by chance."""

import pytest

from perdure import Registry, action, errors, workflow
from perdure.deciders.code.definition import place_of
from perdure.testing.env import Environment

registry = Registry()


@action(name="step", registry=registry)
async def first_step() -> int:
    return 1


@action(name="step", registry=registry)
async def second_step() -> int:
    return 2


@workflow(name="same", registry=registry)
async def first() -> int:
    return await first_step()


@workflow(name="same", registry=registry)
async def second() -> int:
    return await second_step()


@workflow(registry=registry)
async def parent() -> int:
    return await first() + await second()


async def test_the_definition_that_was_started_is_meant_by_its_name() -> None:
    async with Environment(registry=registry) as env:
        assert await env.engine.run(first) == 1
        with pytest.raises(errors.DefinitionConflict, match=r"Two workflows are named 'same' \(version 1\).*test_registry.py"):
            await env.engine.start(second)
    async with Environment(registry=registry) as env:
        assert await env.engine.run(second) == 2


async def test_a_name_with_two_meanings_waits_until_one_is_meant() -> None:
    async with Environment(registry=registry) as env:
        run = await env.engine.start("same")
        await env.settle()
        assert "Two workflows are named 'same'" in str(await run.why())
        assert await env.engine.run(second) == 2


async def test_two_children_of_one_name_stall_their_parent() -> None:
    async with Environment(registry=registry) as env:
        run = await env.engine.start(parent)
        await env.settle()
        assert await run.status() == "stalled"
        assert "Two workflows are named 'same'" in str(await run.why())


async def test_two_actions_of_one_name_are_each_called_by_their_function() -> None:
    assert registry.action("step") is None
    async with Environment(registry=registry) as env:
        assert await env.engine.run(first) == 1


def test_functions_made_inside_functions_of_one_file_replace_each_other() -> None:
    own = Registry()

    @workflow(name="made", registry=own)
    async def old() -> None: ...

    @workflow(name="made", registry=own)
    async def new() -> None: ...

    assert place_of(old.definition) == place_of(new.definition)
    assert own.definition("made") is new.definition


def test_an_unknown_name_tells_what_is_known() -> None:
    with pytest.raises(errors.DefinitionNotFound, match=r"'nothing' is not registered here. Known: parent, same"):
        registry.definition("nothing")


def test_whoever_serves_whole_files_can_ask_for_names_that_are_there_twice() -> None:
    with pytest.raises(errors.DefinitionConflict, match="Two workflows are named 'same'"):
        registry.check()
    Registry().check()
