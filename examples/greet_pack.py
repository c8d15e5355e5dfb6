"""An action pack of one's own: typed configuration, typed items, served by `perdure worker greet_pack.py` or from any workflow.

Run it: python examples/greet_pack.py
"""

import asyncio

from msgspec import Struct

from perdure import Engine, action, workflow


class Greeting(Struct, frozen=True, forbid_unknown_fields=True):
    words: str = "Hello"


class Person(Struct):
    name: str


@action
async def greet(items: list[Person], *, config: Greeting) -> list[dict[str, str]]:
    return [{"text": f"{config.words}, {person.name}!"} for person in items]


@workflow
async def greetings(names: list[str], words: str) -> list[str]:
    found = await greet([Person(name) for name in names], config=Greeting(words))
    return [item["text"] for item in found]


async def main() -> None:
    async with Engine("memory://") as engine:
        print(*await engine.run(greetings, ["Ann", "Bob"], "Good morning"))


if __name__ == "__main__":
    asyncio.run(main())
