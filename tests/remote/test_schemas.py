"""Arguments and results of strangers, checked by the schemas that they announced: at the node, for they may check nothing."""

import logging
import sys
from typing import Any

import pytest
from msgspec import Raw

from perdure.model.call import ActionSpec, Outcome
from perdure.model.payload import EMPTY_CONTENT, Content
from perdure.remote import schemas
from perdure.wire.checking import OutputCheck
from tests.remote.fakes import Scene

A = "r#1#1~1.1"
INPUT = Raw(b'{"type":"object","properties":{"ip":{"type":"string"}},"required":["ip"],"additionalProperties":false}')
OUTPUT = Raw(b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}')
IP, WRONG = Content("json", b'"::1"'), Content("json", b"5")
CITY = b'{"city":"Bonn"}'


async def scene_with(**announced: Any) -> Scene:
    scene = Scene()
    await scene.worker(**announced)
    await scene.directory.refresh()
    return scene


@pytest.mark.covers("F7")
async def test_arguments_that_a_stranger_does_not_take_fail_their_call_before_it_leaves_and_its_neighbours_go_out() -> None:
    scene = await scene_with(input_schema=INPUT)
    scene.perform("1", args=(IP,))
    scene.perform("2", args=(WRONG,))
    scene.perform("3", args=(IP,))
    await scene.settle()
    assert scene.carrier.ids() == [A, "r#1#3~1.1"]
    ((id, outcome),) = scene.ended
    assert (id, outcome.failure.type, outcome.failure.is_final) == ("r#1#2~1.1", "perdure.model.errors:InvalidArguments", True)
    assert outcome.failure.message.startswith("look cannot be called with these arguments: ip: ")
    assert "5" not in outcome.failure.message


@pytest.mark.covers("F7")
async def test_a_result_that_is_not_what_its_stranger_announced_is_a_failure_of_the_call() -> None:
    scene = await scene_with(output_schema=OUTPUT)
    for name in "123":
        scene.perform(name)
    await scene.settle()
    scene.hear(A, b'{"city":5}')
    scene.hear("r#1#2~1.1", CITY)
    scene.hear("r#1#3~1.1", b"[]")
    (_, bad), (_, good), (_, other) = scene.ended
    assert (bad.content, bad.failure.type, bad.failure.is_final) == (None, "perdure.model.errors:InvalidValue", True)
    assert "the result of look by the worker w, which announced a schema of it" in bad.failure.message
    assert "city: " in bad.failure.message
    assert good.content.data == CITY
    assert other.failure.type == "perdure.model.errors:InvalidValue"


async def test_a_worker_that_has_left_is_held_to_its_word_for_what_it_said_last() -> None:
    scene = await scene_with(output_schema=OUTPUT)
    scene.perform()
    await scene.settle()
    await scene.leave()
    await scene.directory.refresh()
    scene.hear(A, b"5")
    assert scene.ended[0][1].failure.type == "perdure.model.errors:InvalidValue"


async def test_our_own_workers_check_themselves() -> None:
    scene = await scene_with(input_schema=INPUT, output_schema=OUTPUT, language="python")
    scene.perform(args=(WRONG,))
    await scene.settle()
    scene.hear(A, b"5")
    assert scene.carrier.ids() == [A]
    assert scene.ended[0][1].content.data == b"5"


async def test_where_workers_disagree_each_is_believed_of_its_results_only_as_far_as_it_is_known_and_none_of_the_arguments() -> None:
    scene = Scene()
    await scene.worker("loose", slots=1)
    await scene.worker("strict", slots=1, input_schema=INPUT, output_schema=OUTPUT)
    await scene.directory.refresh()
    scene.perform("1", args=(WRONG,))
    scene.perform("2", args=(WRONG,))
    await scene.settle()
    assert len(scene.carrier.sent) == 2
    for name, worker in (("1", "strict"), ("2", "loose")):
        scene.hear(f"r#1#{name}~1.1", b"5", worker=worker)
    assert [(id, outcome.failure is None) for id, outcome in scene.ended] == [(A, False), ("r#1#2~1.1", True)]


async def test_a_worker_of_two_versions_is_held_to_the_one_that_was_asked_for() -> None:
    scene = await scene_with(version=1, output_schema=OUTPUT)
    own = next(iter(scene.directory.schemas._results.values()))
    first = own["look/1/default"]
    own["look/2/default"] = type(first)(name="look", version=2, output_schema=Raw(b'{"type":"integer"}'))
    chosen = scene.perform(spec=ActionSpec("look", version=2, is_chosen=True)).attempt
    unchosen = scene.perform("2").attempt

    def is_taken(asked: Any, data: bytes) -> bool:
        return scene.performer.prove(asked, Outcome(Content("json", data)), "w").failure is None

    assert [is_taken(chosen, b"5"), is_taken(chosen, CITY), is_taken(unchosen, b"[]")] == [True, False, True]


async def test_a_schema_is_compiled_once_and_one_that_is_none_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[str] = []

    def make(action: str, schema: bytes) -> OutputCheck:
        made.append(action)
        return OutputCheck(action, schema)

    monkeypatch.setattr(schemas, "output_check", make)
    scene = await scene_with(output_schema=OUTPUT, input_schema=Raw(b'{"type":"nope"}'))
    for name in "123":
        with caplog.at_level(logging.WARNING, "perdure.remote"):
            scene.perform(name)
            await scene.settle()
            scene.hear(f"r#1#{name}~1.1", CITY)
            await scene.directory.refresh()
    assert made == ["look"]
    assert [outcome.failure for _, outcome in scene.ended] == [None, None, None]
    assert caplog.text.count("the input_schema of 'look' is no JSON Schema") == 1


async def test_no_more_schemas_are_kept_than_the_most_and_none_that_is_too_large(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(schemas, "COMPILED_MAX", 2)
    monkeypatch.setattr(schemas, "SCHEMA_BYTES_MAX", 90)
    scene = Scene()
    for number in range(4):
        scene.perform(f"{number}")
        await scene.worker(output_schema=Raw(f'{{"maximum":{number}}}'.encode()))
        await scene.directory.refresh()
        await scene.settle()
        scene.hear(f"r#1#{number}~1.1", b"9")
    assert [outcome.failure is None for _, outcome in scene.ended] == [False] * 4
    assert len(scene.directory.schemas._output_checks) == 2
    await scene.worker(output_schema=Raw(b'{"maximum":1,"description":"' + b"x" * 90 + b'"}'))
    await scene.directory.refresh()
    scene.perform("large")
    scene.hear("r#1#large~1.1", b"9")
    assert scene.ended[-1][1].failure is None
    assert "more than 90: it is left to its worker" in caplog.text


async def test_without_the_extra_everything_is_left_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    scene = await scene_with(input_schema=INPUT, output_schema=OUTPUT)
    scene.perform(args=(WRONG,))
    await scene.settle()
    scene.hear(A, b"5")
    assert (scene.carrier.ids(), scene.ended[0][1].failure) == ([A], None)


@pytest.mark.parametrize("content", [EMPTY_CONTENT, Content("json+zlib", b"?"), Content("json", CITY)])
def test_what_only_others_can_read_passes_and_so_does_what_fits(content: Content) -> None:
    OutputCheck("look", bytes(OUTPUT)).check(content, "the result")
