"""The command line for people: tickets, the erasure of personal data, the cost of a run."""

import pytest

from tests.surfaces.processes import Shell

PROGRAM = """
import asyncio
from perdure import action, actions, workflow

@action(cost=0.25, service="translator")
async def translate(text: str) -> str:
    return text

@workflow
async def asks(text: str) -> str:
    await translate(text)
    (answer,) = await actions.approve(title="Send {{ text }}?", assignees=["ann"], deadline="2d")([{"text": text}])
    return answer["by"]
"""


@pytest.mark.covers("F14", "F16")
def test_a_question_is_listed_shown_answered_once_and_its_run_costed(shell: Shell) -> None:
    file = shell.write("asks.py", PROGRAM)
    shell.serve(file).line("serving")
    shell.ok("start", f"{file}:asks", "hello", "--id", "r")
    assert "call" in shell.ok("why", "r")
    rows = shell.run("tickets", "list", "--mine", "ann", "--json").json()
    while not rows:
        rows = shell.run("tickets", "list", "--mine", "ann", "--json").json()
    id = rows[0]["id"]
    assert "Send hello?" in shell.ok("tickets", "list", "--assignee", "ann")
    assert shell.ok("tickets", "list", "--mine", "bob") == "No tickets."
    shown = shell.ok("tickets", "show", id)
    assert "due   in" in shown
    assert "approved" in shown
    link = shell.ok("tickets", "link", id, "--as", "ann", PERDURE_API_URL="https://here/")
    assert link.startswith("https://here/v1/tickets/answer/")
    answer = ("tickets", "answer", id, "--as", "ann", "--data", '{"approved": true}')
    for wrong, code, said in (
        (("tickets", "answer", id, "--as", "eve", "--data", '{"approved": true}'), 2, "may not answer"),
        (("tickets", "answer", id, "--as", "ann", "--data", '{"approved": 1}'), 2, "does not fit its form"),
        (("tickets", "answer", id, "--as", "ann", "--data", "{"), 2, "--data is no JSON"),
        (("tickets", "show", "none"), 3, "There is no ticket 'none'"),
    ):
        result = shell.run(*wrong)
        assert (result.code, said in result.err) == (code, True), result
    assert shell.ok(*answer) == f"Ticket {id} is answered."
    assert shell.ok("result", "r") == '"ann"'
    again = shell.run(*answer)
    assert (again.code, "ann answered it" in again.err) == (4, True)
    assert "ann answered" in shell.ok("tickets", "show", id)
    assert shell.run("tickets", "list", "--all", "--json").json()[0]["data"] == {"approved": True}
    cost = shell.ok("show", "r", "--cost", "--children", "--code", file)
    assert "r: 0.25 in 1 run; 1 calls of outside services, 2 others" in cost
    assert "translator" in cost
    report = shell.run("show", "r", "--cost", "--code", file, "--json").json()
    assert (report["cost"], report["outside"], report["services"][0]["name"]) == (0.25, 1, "translator")
    assert "0 calls of outside services" in shell.ok("show", "r", "--cost")


@pytest.mark.covers("F17")
def test_the_personal_data_of_a_run_is_erased(shell: Shell) -> None:
    shell.ok("start", "shop.py:doubled", "1", "--wait")
    assert shell.ok("erase", "r") == "The key of r is erased, and 0 values with it."
