"""A payment service is down, a run fails; it is mended, and the run goes on where it failed.

python examples/mending.py
"""

import asyncio

from perdure import Engine, action, attempt, workflow


class Bank:
    """Stands for a service of somebody else."""

    is_up = False


@action
async def reserve(order: str) -> str:
    print(f"reserved what {order} needs")
    return f"reservation of {order}"


@action
async def charge(order: str) -> str:
    if not Bank.is_up:
        raise ConnectionError("the bank does not answer")
    return f"charged in sequence {attempt().sequence}"


@workflow
async def buy(order: str) -> list[str]:
    return [await reserve(order), await charge(order)]


async def main() -> None:
    async with Engine("memory://") as engine:
        run = await engine.start(buy, "o-1")
        try:
            await run.result()
        except ConnectionError as error:
            print(f"the run is {await run.status()}: {error}")
        Bank.is_up = True
        print(f"retried: {await engine.retry(action=charge) == [run.id]}")
        print(await run.result())  # Nothing is reserved twice.
        task = await engine.dispatch(charge, "o-2")  # A task of its own, without a workflow.
        print(await task.result())


if __name__ == "__main__":
    asyncio.run(main())
