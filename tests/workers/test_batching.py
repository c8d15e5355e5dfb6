"""Batches: calls that are put together, in the engine and in workers."""

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs

import perdure
from perdure import Batch, Registry, Retry, action, errors, workflow
from perdure.deciders.code.authoring import Action
from perdure.model.call import Attempt, Outcome
from perdure.model.codec import Serializer
from perdure.model.payload import Content
from perdure.ports.facilities import records_of
from perdure.testing.clock import VirtualClock
from perdure.testing.env import Environment
from perdure.workers.attempt import CurrentAttempt, enter
from perdure.workers.executors import LocalPerformer
from tests.workers.broker import attempt, settled, until
from tests.workers.conftest import Begin


@dataclass
class Order:
    user: str
    amount: int


class Table:
    """Keeps what was inserted, batch by batch."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[list[int]] = []
        self.users: list[set[str]] = []
        self.poison: int | None = None
        self.forget: int | None = None
        self.gate: asyncio.Event | None = None
        self.was_cancelled = False

        async def insert(orders: dict[str, Order]) -> dict[str, int]:
            self.batches.append([order.amount for order in orders.values()])
            self.users.append({order.user for order in orders.values()})
            if self.gate is not None:
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    self.was_cancelled = True
                    raise
            if any(order.amount == self.poison for order in orders.values()):
                raise ValueError("poison")
            return {key: order.amount * 2 for key, order in orders.items() if order.amount != self.forget}

        self.registry = Registry()
        self.action = action(batch=Batch(**{"key": lambda order: order.user, **options}), registry=self.registry, retry=Retry(attempts=2))(
            insert
        )


class Bench:
    """A performer on virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.performer = LocalPerformer(self.clock, Serializer(), 2)
        self.outcomes: dict[str, Outcome] = {}

    def begin(self, wanted: Action[..., Any], value: Any, *, run: str, number: int = 1) -> Any:
        return self.performer.perform(attempt(wanted.spec, value, run=run, number=number), self._deliver, lambda _, __: None)

    def _deliver(self, asked: Attempt, outcome: Outcome) -> None:
        self.outcomes[asked.run] = outcome

    async def pass_time(self, us: int) -> None:
        await settled()
        self.clock.move_to(self.clock.now_us() + us)
        await settled()

    def values(self) -> dict[str, Any]:
        return {run: Serializer().decode(found.content) for run, found in self.outcomes.items() if found.content is not None}

    def failures(self) -> dict[str, str]:
        return {run: found.failure.type for run, found in self.outcomes.items() if found.failure is not None}


@pytest.mark.covers("I33")
async def test_a_hundred_calls_are_one_call_of_the_function() -> None:
    table, bench = Table(calls_max=100), Bench()
    for at in range(100):
        bench.begin(table.action, Order("u", at), run=f"r{at}")
    await settled()
    assert table.batches == [list(range(100))]
    assert bench.values() == {f"r{at}": 2 * at for at in range(100)}


@pytest.mark.covers("I33")
async def test_fewer_calls_go_together_after_the_wait() -> None:
    table, bench = Table(wait="50ms"), Bench()
    bench.begin(table.action, Order("u", 1), run="a")
    await bench.pass_time(30_000)
    bench.begin(table.action, Order("u", 2), run="b")
    await bench.pass_time(19_999)
    assert table.batches == []
    await bench.pass_time(1)
    assert table.batches == [[1, 2]]
    assert bench.values() == {"a": 2, "b": 4}


@pytest.mark.covers("I33")
async def test_keys_are_never_mixed() -> None:
    table, bench = Table(), Bench()
    for at in range(6):
        bench.begin(table.action, Order(f"u{at % 3}", at), run=f"r{at}")
    await bench.pass_time(50_000)
    assert sorted(table.batches) == [[0, 3], [1, 4], [2, 5]]
    assert all(len(users) == 1 for users in table.users)
    assert len(bench.values()) == 6


@pytest.mark.covers("I33")
async def test_a_missing_key_fails_only_that_call() -> None:
    table, bench = Table(), Bench()
    table.forget = 2
    for at in range(3):
        bench.begin(table.action, Order("u", at), run=f"r{at}")
    await bench.pass_time(50_000)
    assert bench.values() == {"r0": 0, "r1": 2}
    assert bench.failures() == {"r2": "perdure.model.errors:OutputMissing"}
    failure = bench.outcomes["r2"].failure
    assert failure is not None
    assert "r2#1#1" in failure.message
    assert not failure.is_final


@pytest.mark.covers("I33")
async def test_an_exception_fails_all_and_the_next_attempt_of_each_is_made_alone() -> None:
    table, bench = Table(), Bench()
    table.poison = 1
    for at in range(3):
        bench.begin(table.action, Order("u", at), run=f"r{at}")
    await bench.pass_time(50_000)
    assert set(bench.failures().values()) == {"builtins:ValueError"}
    assert len(bench.failures()) == 3
    bench.outcomes.clear()
    for at in range(3):
        bench.begin(table.action, Order("u", at), run=f"r{at}", number=2)
    await settled()
    assert table.batches[1:] == [[0], [1], [2]]
    assert bench.values() == {"r0": 0, "r2": 4}
    assert bench.failures() == {"r1": "builtins:ValueError"}


async def test_input_that_does_not_fit_never_joins_a_batch() -> None:
    table, bench = Table(), Bench()
    bench.begin(table.action, {"user": "u"}, run="bad")
    bench.begin(table.action, Order("u", 1), run="good")
    await bench.pass_time(50_000)
    assert table.batches == [[1]]
    assert bench.failures() == {"bad": "perdure.model.errors:InvalidArguments"}


async def test_output_of_a_wrong_type_fails_only_that_call() -> None:
    async def insert(orders: dict[str, int]) -> dict[str, int]:
        return {key: "no" if value == 1 else value for key, value in orders.items()}  # type: ignore[misc]

    wanted, bench = action(batch=Batch(), registry=Registry())(insert), Bench()
    for at in range(2):
        bench.begin(wanted, at, run=f"r{at}")
    await bench.pass_time(50_000)
    assert bench.values() == {"r0": 0}
    assert list(bench.failures()) == ["r1"]


async def test_a_batch_that_gives_no_dict_fails_all() -> None:
    async def insert(orders: dict[str, int]) -> dict[str, int]:
        return 5  # type: ignore[return-value]

    wanted, bench = action(batch=Batch(), registry=Registry())(insert), Bench()
    bench.begin(wanted, 1, run="r")
    await bench.pass_time(50_000)
    failure = bench.outcomes["r"].failure
    assert failure is not None
    assert "expected a dict by call key" in failure.message


async def test_a_plain_function_gets_its_batch_in_a_thread() -> None:
    def insert(orders: dict[str, int]) -> dict[str, int]:
        return {key: value + 1 for key, value in orders.items()}

    wanted, bench = action(batch=Batch(calls_max=2), registry=Registry())(insert), Bench()
    bench.begin(wanted, 1, run="a")
    bench.begin(wanted, 2, run="b")
    await until(lambda: len(bench.outcomes) == 2)
    assert bench.values() == {"a": 2, "b": 3}


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_batch_has_the_attempt_of_each_call_and_none_of_its_own(is_async: bool) -> None:
    known: dict[str, tuple[str, int, bool]] = {}
    beaten: list[tuple[str, Any]] = []
    begun, gate = threading.Event(), threading.Event()

    def insert(orders: dict[str, int]) -> dict[str, int]:
        found = perdure.attempts()
        assert list(found) == list(orders)
        for at in found.values():
            at.heartbeat(at.details)
        with pytest.raises(errors.Unsupported, match=r"perdure.attempts\(\) has the attempt of each, by the key"):
            perdure.attempt()
        with pytest.raises(errors.Unsupported, match="records in a batch"):
            records_of("records")
        begun.set()
        assert is_async or gate.wait(20)
        known.update({key: (at.run, at.number, at.is_cancelled) for key, at in found.items()})
        return {key: value + 1 for key, value in orders.items()}

    async def insert_soon(orders: dict[str, int]) -> dict[str, int]:
        return insert(orders)

    function: Any = insert_soon if is_async else insert
    wanted, bench = action(batch=Batch(calls_max=2), registry=Registry())(function), Bench()

    def beat(asked: Attempt, content: Content) -> None:
        beaten.append((asked.run, Serializer().decode(content)))

    given = [structs.replace(attempt(wanted.spec, at, run=f"r{at}"), details=Serializer().encode(f"page {at}")) for at in range(2)]
    # An action has just ended in the context in which the batch begins.
    enter(CurrentAttempt(given[0], Serializer(), beat, clock=bench.clock))
    performances = [bench.performer.perform(one, bench._deliver, beat) for one in given]
    await until(begun.is_set)
    if not is_async:
        performances[1].cancel()
        gate.set()
    await until(lambda: len(bench.outcomes) == 2 and len(known) == 2)
    assert known == {"r0#1#1": ("r0", 1, False), "r1#1#1": ("r1", 1, not is_async)}
    await until(lambda: beaten == [("r0", "page 0"), ("r1", "page 1")])


async def test_the_attempts_of_any_other_action_are_one_and_there_are_none_outside() -> None:
    @action(registry=Registry())
    async def alone() -> list[str]:
        assert perdure.attempts()[perdure.attempt().key] is perdure.attempt()
        return list(perdure.attempts())

    bench = Bench()
    bench.performer.perform(attempt(alone.spec, run="r"), bench._deliver, lambda _, __: None)
    await until(lambda: bench.outcomes)
    assert bench.values() == {"r": ["r#1#1"]}
    with pytest.raises(errors.Unsupported, match="outside an action"):
        perdure.attempts()


async def test_a_call_that_is_cancelled_leaves_its_batch_and_a_batch_that_nobody_wants_is_cancelled() -> None:
    table, bench = Table(), Bench()
    table.gate = asyncio.Event()
    performances = [bench.begin(table.action, Order("u", at), run=f"r{at}") for at in range(3)]
    await settled()
    performances[0].cancel()
    await bench.pass_time(50_000)
    assert table.batches == [[1, 2]]
    performances[1].cancel()
    await settled()
    assert not table.was_cancelled
    performances[2].cancel()
    await settled()
    assert table.was_cancelled
    assert len(bench.failures()) == 3


async def test_closing_cancels_batches() -> None:
    table, bench = Table(), Bench()
    table.gate = asyncio.Event()
    bench.begin(table.action, Order("u", 1), run="a")
    await bench.pass_time(50_000)
    bench.begin(table.action, Order("u", 2), run="b")
    await settled()
    await bench.performer.close()
    assert table.was_cancelled
    assert table.batches == [[1]]


@pytest.mark.covers("I33")
async def test_branches_of_a_workflow_share_a_batch_in_the_engine_and_retries_go_alone() -> None:
    table = Table(calls_max=3)
    table.poison = 1

    @workflow(registry=table.registry)
    async def orders() -> list[str]:
        found = await asyncio.gather(*(table.action(Order("u", at)) for at in range(3)), return_exceptions=True)
        return [str(entry) for entry in found]

    async with Environment(registry=table.registry) as env:
        assert await env.run(orders) == ["0", "poison", "4"]
    assert table.batches[0] == [0, 1, 2]
    assert sorted(table.batches[1:]) == [[0], [1], [2]]


async def test_a_plain_batch_waits_for_virtual_time_and_then_for_its_thread() -> None:
    registry = Registry()

    @action(batch=Batch(wait="1h"), registry=registry)
    def double(numbers: dict[str, int]) -> dict[str, int]:
        return {key: 2 * number for key, number in numbers.items()}

    @workflow(registry=registry)
    async def doubled(number: int) -> int:
        return await double(number)

    async with Environment(registry=registry, patience=5) as env:
        assert await env.run(doubled, 4) == 8


@pytest.mark.covers("I33")
async def test_a_worker_puts_calls_together(begin: Begin) -> None:
    table = Table(calls_max=4)
    async with begin(table.action, slots=4) as stage:
        for at in range(4):
            await stage.desk.ask(table.action.spec, Order("u", at), run=f"r{at}")
        await until(lambda: len(stage.ear.outcomes) == 4)
        assert table.batches == [[0, 1, 2, 3]]


async def test_one_call_outside_a_workflow_is_a_batch_of_one() -> None:
    table = Table()
    assert await table.action(Order("u", 4)) == 8
    assert table.batches == [[4]]
    with pytest.raises(errors.InvalidArguments):
        table.action()  # type: ignore[call-arg]


def test_a_plain_batch_without_a_loop_gives_its_value_at_once() -> None:
    def insert(orders: dict[str, int]) -> dict[str, int]:
        return dict(orders)

    wanted: Any = action(batch=Batch(), registry=Registry())(insert)
    assert wanted(3) == 3


@pytest.mark.parametrize("batch", [Batch(calls_max=0), Batch(wait="soon")])
def test_a_batch_that_cannot_be_is_refused(batch: Batch) -> None:
    async def insert(orders: dict[str, int]) -> dict[str, int]:
        return {}

    with pytest.raises(errors.InvalidOption):
        action(batch=batch, registry=Registry())(insert)


def test_a_batch_of_two_parameters_is_refused() -> None:
    async def insert(orders: dict[str, int], more: int) -> dict[str, int]:
        return {}

    with pytest.raises(errors.InvalidOption, match="one parameter"):
        perdure.action(batch=Batch(), registry=Registry())(insert)  # type: ignore[arg-type]
