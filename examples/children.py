"""Child workflows: to call a workflow in a workflow is to start a run of its own and to wait for it.

Each child has its own journal and its own place in lists; an exception of a child reaches its parent like that of any call.
"""

import asyncio

from perdure import Engine, workflow


@workflow
async def factorial(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} has no factorial")
    return number * await factorial(number - 1) if number > 1 else 1


@workflow
async def binomial(total: int, chosen: int) -> int:
    above, below, rest = await asyncio.gather(factorial(total), factorial(chosen), factorial(total - chosen))
    return above // (below * rest)


async def main() -> None:
    async with Engine("memory://") as engine:
        print(await engine.run(factorial, 20))
        print(await engine.run(binomial, 10, 3))
        try:
            await engine.run(binomial, 3, 10)
        except ValueError as error:
            print(error)
        runs = await engine.list(definition="factorial", limit=1000)
        print(f"{len(runs)} runs of factorial")


asyncio.run(main())
