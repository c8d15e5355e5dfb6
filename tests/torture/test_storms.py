"""A storm with every kind of fault leaves the books in order, and storms find the faults that are planted.

Longer ones, and others: ``make torture``.
"""

from pathlib import Path

import pytest
from msgspec import structs

from tests.torture.faults import OF_DATABASE, OF_NODES
from tests.torture.requirements import skip_without_compiler, skip_without_server
from tests.torture.storm import Findings, Forecast, weather

pytestmark = pytest.mark.timeout(200)

# Of the seeds that bring all kinds within this time; always the same, so that what it finds is what a change did.
STORM = Forecast(seed=13, seconds=40)
PAUSES = Forecast(seed=4, seconds=14, kinds=("pause",), work_s=0.2, tellers=12, calm_s=12)


def findings_of(forecast: Forecast, folder: Path) -> Findings:
    skip_without_server()
    findings = weather(forecast, folder)
    assert findings.faults >= 3
    assert len(findings.books.runs) > 50
    return findings


@pytest.mark.covers("I3", "M16", "M17", "M27", "X2", "Z7", "Z20")
def test_no_fault_of_nodes_clocks_or_the_database_loses_or_doubles_anything(tmp_path: Path) -> None:
    skip_without_compiler()
    assert {fault.kind for fault in STORM.script()} == {*OF_NODES, *OF_DATABASE, "fail over"}
    findings = findings_of(STORM, tmp_path)
    assert findings.complaints == [], f"the folder {tmp_path} has the logs"


def test_a_storm_finds_that_commits_are_not_fenced(tmp_path: Path) -> None:
    complaints = "\n".join(findings_of(structs.replace(PAUSES, fault="no fence"), tmp_path).complaints)
    assert any(words in complaints for words in ("its row says", "outcomes", "took effect 2 times", "have no gap")), complaints


def test_a_storm_finds_that_transactional_outcomes_are_not_fenced(tmp_path: Path) -> None:
    complaints = findings_of(structs.replace(PAUSES, fault="loose outcome"), tmp_path).complaints
    assert any("took effect 2 times" in complaint for complaint in complaints), complaints
