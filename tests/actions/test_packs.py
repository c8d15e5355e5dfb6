"""Packs of actions: users' own, and the library served by its name (F5)."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import Engine, action, actions, errors, workflow
from perdure.cli.loading import action_in, actions_of, load
from perdure.deciders.code.definition import default_registry
from perdure.stores.memory import MemoryStore

ROOT = Path(__file__).parents[2]


@action(name="packs_break")
async def breaks(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    raise LookupError("no such word")


@workflow(name="packs_by_name")
async def by_name(name: str, items: Any, options: dict[str, Any]) -> Any:
    return await perdure.call(name, items, **options)


@pytest.mark.covers("F5", "F2")
async def test_a_pack_is_called_by_name_and_bad_configuration_and_items_name_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    # Forgotten afterwards: other tests of this process perform another "greet".
    monkeypatch.setattr(default_registry, "_actions", dict(default_registry._actions))
    load([str(ROOT / "examples" / "greet_pack.py")])
    ann = [{"name": "Ann"}]
    async with Engine(MemoryStore()) as engine:
        assert await engine.run(by_name, "greet", ann, {"config": {"words": "Hi"}}) == [{"text": "Hi, Ann!"}]
        for items, config, field in ((ann, {"words": 3}, r"\$\.words"), (ann, {"word": "x"}, "word"), ([{"nam": "x"}], {}, "name")):
            with pytest.raises(errors.InvalidArguments, match=field):
                await engine.run(by_name, "greet", items, {"config": config})


@pytest.mark.covers("F5")
async def test_an_exception_of_a_pack_is_an_error_with_its_type_and_message_and_the_next_call_is_performed() -> None:
    async with Engine(MemoryStore()) as engine:
        with pytest.raises(LookupError, match="no such word"):
            await engine.run(by_name, "packs_break", [], {})
        assert await engine.run(by_name, "filter_success", [{"status_code": 200}], {"config": {}}) == [{"status_code": 200}]


def test_the_library_is_loaded_by_its_name() -> None:
    (module,) = load(["perdure.actions"])
    assert module is actions
    assert {action.spec.name for action in actions_of([module])} == {entry.name for entry in actions.CATALOGUE if not entry.is_step}
    assert action_in(module, "http", "perdure.actions").spec.name == "http"
    assert {entry.name for entry in actions.CATALOGUE if not entry.is_step and default_registry.action(entry.name) is None} == set()


def test_the_library_declares_nothing_until_it_is_imported() -> None:
    code = "import perdure; from perdure.deciders.code.definition import default_registry as r; print(r.action('http'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert found.stdout == "None\n"
