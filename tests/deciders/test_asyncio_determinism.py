"""asyncio's own order is the same in every process: the same workflow leaves the same journal, byte for byte."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

PROGRAM = """
import asyncio, random, sys
import perdure
from perdure.testing.env import Environment

registry = perdure.Registry()

@perdure.action(registry=registry)
async def work(n: int) -> int:
    if n == 4:
        raise ValueError(n)
    return n

async def one(n: int) -> int:
    await asyncio.sleep(n % 3)
    return await work(n)

async def completed() -> list[int]:
    return [await done for done in asyncio.as_completed([one(n) for n in (5, 3, 1, 2, 9, 8, 7)])]

async def waited() -> list[int]:
    seen = []
    for mode in (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED):
        tasks = [asyncio.create_task(one(n)) for n in range(1, 12)]
        done, pending = await asyncio.wait(tasks, return_when=mode)
        for task in [*done, *pending]:
            await asyncio.gather(task, return_exceptions=True)
            seen.append((await work(100 + tasks.index(task))) - 100)
    return seen

async def gathered() -> list[int]:
    futures = {asyncio.ensure_future(one(n)) for n in (1, 2, 3, 5, 6, 7)}
    return [*await asyncio.gather(*futures), *[await work(n) for n in await asyncio.gather(*[one(n) for n in (9, 8, 7)])]]

async def grouped() -> list[int]:
    ended = []
    async def cleans_up(n: int) -> None:
        try:
            await asyncio.sleep(50)
        finally:
            ended.append(await work(n))
    try:
        async with asyncio.TaskGroup() as group:
            for n in (10, 11, 12, 13, 14):
                group.create_task(cleans_up(n))
            group.create_task(one(4))
    except* ValueError:
        pass
    return ended

@perdure.workflow(name="tested", registry=registry)
async def tested(which: str) -> list[int]:
    return await globals()[which]()

def scramble_addresses() -> None:
    # What is made next lies where something was given back, in another order in each process.
    freed = [one(n) for n in range(3000)]
    random.Random(sys.argv[1]).shuffle(freed)
    while freed:
        freed.pop().close()

async def main() -> None:
    scramble_addresses()
    async with Environment(registry=registry) as env:
        run = await env.start(tested.options(id="it"), sys.argv[2])
        print(await env.finish(run))
        async for entry in run.journal():
            print(entry.as_json(), entry.data)

asyncio.run(main())
"""


def journal(which: str, seed: int) -> str:
    around = {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(seed), which], capture_output=True, text=True, env=around, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("which", ["completed", "waited", "gathered", "grouped"])
@pytest.mark.covers("I13")
def test_a_workflow_leaves_the_same_journal_in_every_process(which: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        journals = list(pool.map(lambda seed: journal(which, seed), range(4)))
    assert "ActionScheduled" in journals[0]
    assert len(set(journals)) == 1
