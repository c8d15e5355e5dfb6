"""The lines of one run can be picked out of a log of many (F24)."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

import perdure
from perdure import LogContext, Retry, action, workflow
from perdure.testing.env import Environment

shop = logging.getLogger("shop.payments")


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(LogContext())
        self.setFormatter(logging.Formatter("%(run)s|%(call)s|%(attempt)s|%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def of(self, run: str) -> list[str]:
        return [self.format(record) for record in self.records if getattr(record, "run", "") == run]


@action(name="log_pay", retry=Retry(attempts=2, first="1s"))
async def pay(amount: int) -> int:
    shop.info("paying %d", amount)
    await asyncio.gather(asyncio.create_task(check()))
    if perdure.attempt().number == 1:
        raise ConnectionError("once")
    return amount


async def check() -> None:
    shop.info("checking")


@action(name="log_print")
def put_out(amount: int) -> int:
    shop.info("printing %d", amount)
    return amount


@workflow(name="log_order")
async def order(amount: int) -> int:
    paid = await pay(amount)
    shop.info("paid")
    return await put_out(paid)


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root, ours = Lines(), logging.getLogger(), logging.getLogger("perdure")
    before = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before[0])
    ours.setLevel(before[1])


@pytest.mark.covers("F24")
async def test_every_line_of_a_run_says_whose_it_is(lines: Lines) -> None:
    async with Environment() as env:
        runs = [await env.start(order.options(id=id), amount) for id, amount in (("a", 1), ("b", 2))]
        await env.advance("1m")
        assert [await run.result() for run in runs] == [1, 2]
    for run, amount in (("a", 1), ("b", 2)):
        said = lines.of(run)
        assert said[0] == f"{run}|||run {run} (log_order) started"
        assert said[1:5] == [f"{run}|1|1|paying {amount}", f"{run}|1|1|checking", f"{run}|1|2|paying {amount}", f"{run}|1|2|checking"]
        assert said[5:7] == [f"{run}|||paid", f"{run}|2|1|printing {amount}"]
        assert said[7].startswith(f"{run}|||run {run} (log_order) completed in ")
        assert len(said) == 8
    assert all(record.message.split()[1] not in ("a", "b") for record in lines.records if not getattr(record, "run", ""))


async def test_outside_of_runs_nothing_is_claimed_and_what_is_said_already_stays(lines: Lines) -> None:
    shop.info("opening")
    shop.info("moved", extra={"run": "other", "attempt": 7})
    assert lines.of("") == ["|||opening"]
    assert lines.of("other") == ["other||7|moved"]
    assert perdure.LogContext().filter(lines.records[0]) is True
