"""A call that someone else ends: the action hands a parcel to a courier and returns ``pending()``; the courier's word ends it days later.

The key that names the open call is all that the courier needs. An answer of the wrong type is refused, and the call stays open.
"""

import asyncio

import perdure
from perdure import Engine, action, workflow

handed_over: asyncio.Queue[str] = asyncio.Queue()


@action
async def deliver(parcel: str) -> int:
    """Give the weight that the courier measured."""
    await handed_over.put(perdure.attempt().key)
    return perdure.pending()


@workflow
async def send_parcel(parcel: str) -> str:
    try:
        return f"{parcel} was delivered, {await deliver(parcel)} g"
    except RuntimeError as error:
        return f"{parcel} came back: {error}"


async def main() -> None:
    async with Engine("memory://") as engine:
        book = await engine.start(send_parcel, "book")
        key = await handed_over.get()
        try:
            await engine.complete(key, "heavy")
        except perdure.errors.InvalidValue:
            print("'heavy' is refused, and the call stays open")
        await engine.complete(key, 420)
        print(await book.result())

        vase = await engine.start(send_parcel, "vase")
        await engine.fail(await handed_over.get(), RuntimeError("nobody was at home"))
        print(await vase.result())


asyncio.run(main())
