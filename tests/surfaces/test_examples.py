"""Each example runs as a stranger runs it, and says what its docstring promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES_MAX = 60

OUTPUT = {
    "approval": pytest.param(["paid 300, approved by Ann", "refused by Bob", "nobody decided in time"], marks=pytest.mark.covers("I1")),
    "cart": pytest.param(["we do not sell car ['tea', 'cup']", "Ann paid 13, has 500 points"], marks=pytest.mark.covers("I29")),
    "children": pytest.param(
        ["2432902008176640000", "120", "-7 has no factorial", "54 runs of factorial"], marks=pytest.mark.covers("I28")
    ),
    "greet_pack": pytest.param(["Good morning, Ann! Good morning, Bob!"], marks=pytest.mark.covers("F5")),
    "mending": pytest.param(
        [
            "reserved what o-1 needs",
            "the run is failed: the bank does not answer",
            "retried: True",
            "['reservation of o-1', 'charged in sequence 2']",
            "charged in sequence 1",
        ],
        marks=pytest.mark.covers("I20", "I16"),
    ),
    "onboarding": pytest.param(
        [
            "to ann@example.org: please confirm",
            "{'step': 'waiting for the user', 'mails': 1}",
            "to ann@example.org: welcome, Ann",
            "True {'step': 'done', 'mails': 1}",
            "to bob@example.org: please confirm",
            "to bob@example.org: reminder 1: please confirm",
            "False {'step': 'given up', 'mails': 2}",
        ],
        marks=pytest.mark.covers("I1"),
    ),
    "orchestration": pytest.param(
        ["2 × tea reserved, charged 20", "1 × cup reserved, charged 103", "500 × tea reserved, then looked at by a person"],
        marks=pytest.mark.covers("I1"),
    ),
    "outside": pytest.param(
        ["'heavy' is refused, and the call stays open", "book was delivered, 420 g", "vase came back: nobody was at home"],
        marks=pytest.mark.covers("I32"),
    ),
    "pipeline": pytest.param(["666 of 1000 items loaded"], marks=pytest.mark.covers("I1")),
    "recurring": pytest.param(
        ["1000 rounds, total 333833500", "the journal of the last incarnation is small: True"], marks=pytest.mark.covers("I39")
    ),
    "retries": pytest.param(
        [
            "charged 70 at attempt 3, no receipt: there is no such address",
            "the bank charged 1 time",
            "refused at once: 5000 is too much",
        ],
        marks=pytest.mark.covers("I17", "I36"),
    ),
    "saga": pytest.param(
        [
            "booked a flight for Rome",
            "booked a hotel for Rome",
            "booked a car for Rome",
            "['flight-Rome', 'hotel-Rome', 'car-Rome']",
            "booked a flight for Oslo",
            "booked a hotel for Oslo",
            "cancelled hotel-Oslo",
            "cancelled flight-Oslo",
            "no trip: no cars left in Oslo",
        ],
        marks=pytest.mark.covers("I1"),
    ),
    "thumbnails": pytest.param(["['60.jpg', '90.jpg', '120.jpg']"], marks=pytest.mark.covers("I2")),
    "versions": pytest.param(["paper invoice for tea", "e-invoice for cup (by bicycle)"], marks=pytest.mark.covers("I30")),
}


def names() -> list[str]:
    return sorted(path.stem for path in EXAMPLES.glob("*.py"))


def test_every_example_has_its_output_here() -> None:
    assert sorted(OUTPUT) == names()


@pytest.mark.parametrize(("name", "expected"), [pytest.param(name, *entry.values, marks=entry.marks) for name, entry in OUTPUT.items()])
def test_an_example_does_what_it_says(name: str, expected: list[str]) -> None:
    command = [sys.executable, "-W", "error", f"examples/{name}.py"]
    result = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, encoding="utf-8", timeout=50, check=False)
    assert (result.stdout.splitlines(), result.stderr, result.returncode) == (expected, "", 0)


@pytest.mark.parametrize("name", names())
def test_an_example_is_short_and_says_what_it_shows(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MAX
    assert 2 <= len((ast.get_docstring(ast.parse(text)) or "").replace("\n\n", "\n").splitlines()) <= 3
