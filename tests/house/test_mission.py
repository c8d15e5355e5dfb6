"""The list of unproven rows can be trusted: ids are read from the tables, and marks from the tests."""

import importlib.util
from types import ModuleType

import pytest

from tests.house.source import ROOT


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_of_mission", ROOT / "scripts" / "coverage_of_mission.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_are_read_from_tables(coverage: ModuleType) -> None:
    table = "| id | what |\n|---|---|\n| F1 | **Run** a chain | x |\n| I12 | Sleep | y |\nM3 in passing | no row |\n"
    assert coverage.rows_of(table) == {"F1": "Run a chain", "I12": "Sleep"}


def test_marks_are_read_from_functions_classes_and_modules(coverage: ModuleType) -> None:
    mark = "pytest.mark." + "covers"
    tests = f"pytestmark = {mark}('A1')\n@{mark}('B2', 'B3')\nclass TestX:\n    @{mark}('C4')\n    def test(self): ...\n"
    assert sorted(coverage.covered_by(tests)) == ["A1", "B2", "B3", "C4"]


def test_a_missing_mission_is_no_failure(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MISSION", "nowhere.md")
    assert coverage.main() == 0
    assert "No mission" in capsys.readouterr().out
