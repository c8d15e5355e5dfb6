"""A user-facing automation: a new user gets a link, a reminder if it is not followed, and a welcome once it is.

``publish`` makes the state readable for a web page while the run waits; reading it runs no code.
"""

import asyncio

import perdure
from perdure import Engine, action, signal, workflow

confirmed = signal("confirmed", str)


@action
async def send_mail(to: str, text: str) -> None:
    print(f"to {to}: {text}")


@workflow
async def onboard(address: str, patience_s: float, reminders: int) -> bool:
    for reminder in range(reminders + 1):
        await send_mail(address, "please confirm" if reminder == 0 else f"reminder {reminder}: please confirm")
        perdure.publish(step="waiting for the user", mails=reminder + 1)
        try:
            async with asyncio.timeout(patience_s):
                name = await confirmed.receive()
        except TimeoutError:
            continue
        await send_mail(address, f"welcome, {name}")
        perdure.publish(step="done")
        return True
    perdure.publish(step="given up")
    return False


async def main() -> None:
    async with Engine("memory://") as engine:
        ann = await engine.start(onboard, "ann@example.org", 3600, 2)
        async for entry in ann.watch():
            if entry.name == "StatePublished":
                break
        print(await ann.state())
        await ann.send(confirmed, "Ann")
        print(await ann.result(), await ann.state())
        bob = await engine.start(onboard, "bob@example.org", 0.05, 1)
        print(await bob.result(), await bob.state())


asyncio.run(main())
