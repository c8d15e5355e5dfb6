"""Uses that every type checker must refuse, each on the line marked ``# wrong``. Read by the checkers, never run."""

# pyright: strict

from dataclasses import dataclass

import perdure
from perdure import Batch, Engine, Retry, action, query, signal, update, workflow


@dataclass
class Decision:
    ok: bool


approval = signal("approval", Decision)


@action(timeout="20s")
async def download(url: str) -> bytes:
    return b""


@action
def crop(image: bytes, size: int) -> bytes:
    return image[:size]


@action(batch=Batch())
async def insert(orders: dict[str, Decision]) -> dict[str, int]:
    return {}


@workflow
async def thumbnails(url: str, sizes: list[int]) -> list[str]:
    image = await download(7)  # wrong: an argument's type
    await download()  # wrong: a missing argument
    await crop(image, size="1")  # wrong: a keyword's type
    await crop(image, 1, 2)  # wrong: one too many
    text: str = await crop(image, 1)  # wrong: the value of a plain action
    await crop.options(retry=3)(image, 1)  # wrong: an option's type
    await crop.options(timeout="1s")(image, "1")  # wrong: options keep the signature
    await thumbnails(url, 60)  # wrong: a child's argument
    number: int = await approval.receive()  # wrong: a signal's type
    await insert({"a": Decision(True)})  # wrong: one call has one input
    text = (await insert(Decision(True))).lower()  # wrong: and one output
    word: str = perdure.record(lambda: 3)  # wrong: the recorded type
    return [text, word, str(number)]


@action(retry=Retry(attempts="5"))  # wrong: a policy's field
async def broken() -> None: ...


@action(on_lost="ignore")  # wrong: an unknown choice
def lossy() -> None: ...


@workflow  # wrong: a plain function is no workflow
def plain(n: int) -> int:
    return n


class Cart:
    total: int = 0

    async def run(self, owner: str) -> int:
        return self.total

    @update
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @query
    def sum(self) -> int:
        return self.total


cart = workflow(Cart)


async def use(engine: Engine) -> None:
    await engine.run(thumbnails, "url", "60")  # wrong: an argument of a run
    await engine.start(thumbnails, "url")  # wrong: a missing argument of a run
    await engine.run(thumbnails, "url", size=[60])  # wrong: an unknown keyword
    run = await engine.start(thumbnails, "url", [60])
    _result: int = await run.result()  # wrong: the type of a result
    await run.send(approval, 7)  # wrong: the value of a signal
    await run.send(approval)  # wrong: a signal without its value
    await run.send(approval, Decision(ok="yes"))  # wrong: a field of the value
    await engine.start(cart, 3)  # wrong: an argument of a class workflow
    basket = await engine.start(cart, "ann")
    await basket.update(Cart.add, "2")  # wrong: an argument of an update
    text: str = await basket.update(Cart.add, 2)  # wrong: the answer of an update
    await basket.query(Cart.sum, text)  # wrong: an argument of a query
    engine.get("id", "thumbnails")  # wrong: a name where the workflow is wanted
