"""The class form: a running instance that clients change through updates and look into through queries.

Many updates may be under way on one instance at once: they share its attributes, and the account comes out exact.
"""

import asyncio

from perdure import Engine, action, query, update, workflow


@action
async def look_up_price(item: str) -> int:
    return {"tea": 4, "cup": 9}[item]


@workflow
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.total, self.points, self.paid = 0, 0, asyncio.Event()

    async def run(self, customer: str) -> str:
        await self.paid.wait()
        return f"{customer} paid {self.total}, has {self.points} points"

    @update
    async def add(self, item: str) -> None:
        price = await look_up_price(item)  # Others may change the cart meanwhile: `self.total += await …` would forget that.
        self.total += price
        self.items.append(item)

    @add.validator
    def check(self, item: str) -> None:
        if item not in ("tea", "cup"):
            raise ValueError(f"we do not sell {item}")

    @update
    async def add_bonus(self, points: int) -> None:
        await asyncio.sleep(0.001)
        self.points += points

    @update
    def pay(self) -> None:
        self.paid.set()

    @query
    def contents(self) -> list[str]:
        return self.items


async def main() -> None:
    async with Engine("memory://") as engine:
        run = await engine.start(Cart, "Ann")
        await asyncio.gather(*(run.update(Cart.add, item) for item in ("tea", "cup")), *(run.update(Cart.add_bonus, 5) for _ in range(100)))
        print(*await asyncio.gather(run.update(Cart.add, "car"), run.query(Cart.contents), return_exceptions=True))
        await run.update(Cart.pay)
        print(await run.result())


asyncio.run(main())
