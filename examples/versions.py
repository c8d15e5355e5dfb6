"""Code that changes while runs are alive: a run goes on with the version it began with; a patch guards a change within one.

``patched("change-id")`` is true for runs that reach it for the first time now, false for those that went by before the change.
"""

import asyncio

import perdure
from perdure import Engine, action, signal, workflow

shipped = signal("shipped", str)


@action
async def invoice(order: str, *, is_electronic: bool) -> str:
    return f"{'e-invoice' if is_electronic else 'paper invoice'} for {order}"


@workflow(name="order")
async def order_1(order: str) -> str:
    await shipped.receive()
    return await invoice(order, is_electronic=False)


async def main() -> None:
    async with Engine("memory://") as engine:
        old = await engine.start(order_1, "tea")

        # A deploy: this version stands beside the first one for as long as runs of the first are alive.
        @workflow(name="order", version=2)
        async def order_2(order: str) -> str:
            by = await shipped.receive()
            if perdure.patched("name-the-carrier"):
                order = f"{order} (by {by})"
            return await invoice(order, is_electronic=True)

        new = await engine.start(order_2, "cup")
        for run in (old, new):
            await run.send(shipped, "bicycle")
            print(await run.result())


asyncio.run(main())
