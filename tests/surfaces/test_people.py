"""The command line for people: tickets, the erasure of personal data, the cost of a run."""

import asyncio
import sys
from collections import Counter
from subprocess import PIPE, Popen

import msgspec
import pytest

from tests.stores import bytes_at_rest
from tests.surfaces.processes import PATIENCE_S, Shell

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


MANY = """
import asyncio
from perdure import action, actions, workflow

@action(cost=0.5, service="translator")
async def translate(text: str) -> str:
    return text

@action
async def fetch() -> list[dict]:
    return await actions.hide([{"email": "ann.lee@example.com"}], fields=["email"])

@workflow
async def asks_many(count: int) -> list[str]:
    await translate("a")
    await fetch()
    asked = [actions.approve(title=f"{n}?", assignees=["p0", "p1", "p2"])() for n in range(count)]
    return [answer["by"] for (answer,) in await asyncio.gather(*asked)]
"""

ANSWERS = """
import asyncio, json, sys
import perdure
from perdure import errors
from perdure.client.tickets import Tickets
from perdure.ports.system import SystemClock

async def answer(tickets, id, person):
    try:
        return (await tickets.answer(id, {"approved": True}, by=person)).id
    except errors.TicketClosed:
        return None

async def main(store, person):
    async with perdure.connect(store) as engine:
        tickets = Tickets(engine, SystemClock())
        ids = [ticket.id for ticket in (await tickets.list(assignee=person)).tickets]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await asyncio.gather(*(answer(tickets, id, person) for id in ids))), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def answered_at_once(shell: Shell, store: str) -> list[list[str]]:
    """Give the tickets that each of three processes, none of them a node, could answer when all answered all at one instant."""
    script = shell.write("answers.py", ANSWERS)
    people = [Popen([sys.executable, script, store, f"p{n}"], cwd=shell.folder, stdin=PIPE, stdout=PIPE) for n in range(3)]
    try:
        for person in people:
            assert person.stdout is not None
            assert person.stdout.readline() == b"ready\n"
        for person in people:
            assert person.stdin is not None
            person.stdin.write(b"now\n")
            person.stdin.flush()
        told = [msgspec.json.decode(person.communicate(timeout=PATIENCE_S)[0]) for person in people]
    finally:
        for person in people:
            person.kill()
            person.communicate()
    return [[id for id in found if id is not None] for found in told]


@pytest.mark.covers("F14", "F16", "F17", "M26")
def test_of_processes_that_answer_at_one_instant_one_wins_and_a_node_goes_on_for_the_killed_one(shell: Shell, postgres_url: str) -> None:
    count, store = 8, ("--store", postgres_url)
    key = {"PERDURE_PERSONAL_KEY": "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleS0="}
    file = shell.write("many.py", MANY)
    first = shell.serve(file, *store, "--lease", "2s", "--name", "first", **key)
    first.line("serving")
    shell.ok("start", f"{file}:asks_many", str(count), "--id", "r", *store)
    while len(shell.run("tickets", "list", "--json", *store).json()) < count:
        pass
    shell.serve(file, *store, "--lease", "2s", "--name", "second", **key).line("serving")
    first.kill()
    won = answered_at_once(shell, postgres_url)
    taken = [id for found in won for id in found]
    assert len(taken) == len(set(taken)) == count
    assert Counter(shell.run("result", "r", *store).json()) == Counter(f"p{n}" for n, found in enumerate(won) for _ in found)
    again = shell.run("tickets", "answer", taken[0], "--as", "p0", "--data", '{"approved": true}', *store)
    assert (again.code, "answered it" in again.err) == (4, True)
    page = shell.ok("tickets", "list", "--state", "answered", "--limit", "3", *store)
    rest = shell.run("tickets", "list", "--all", "--after", page.rpartition("More: --after ")[2], "--json", *store).json()
    assert len(rest) == count - 3
    assert "r: 0.5 in 1 run; 1 calls of outside services" in shell.ok("show", "r", "--cost", "--code", file, *store)
    assert shell.ok("erase", "r", *store) == "The key of r is erased, and 1 value with it."
    assert b"ann.lee" not in asyncio.run(bytes_at_rest(postgres_url))
