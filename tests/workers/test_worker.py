"""What a worker promises about the calls it gets, on virtual time."""

import asyncio
import threading
from typing import Any

import msgspec
import pytest

import perdure
from perdure import Registry, action, errors
from perdure.ports.transport import Packet, calls_address, worker_address
from perdure.wire.encoding import encode
from perdure.wire.messages import Beat, Cancel
from perdure.workers import holdings, intake
from perdure.workers.holdings import Holding, Holdings
from perdure.workers.intake import WAIT_MAX_US
from perdure.workers.reporting import Said
from perdure.workers.worker import Surroundings, WorkerOptions, WorkerService
from tests.workers.broker import attempt, settled, until
from tests.workers.conftest import Begin, Stage

registry = Registry()


@action(
    registry=registry,
    queue="geo",
    version=3,
    cost=0.5,
    service="maps.example",
    limit=perdure.Limit(rate=5, key=lambda place: place.country),
)
async def lookup(place: dict[str, str], *, depth: int = 1) -> list[str]:
    """Find a place.

    Not told to anybody.
    """
    return [f"{place['name']} at {depth}"]


@action(registry=registry)
async def add(a: int, b: int) -> int:
    return a + b


@action(registry=registry)
def multiply(a: int, b: int) -> int:
    return a * b


@action(registry=registry)
async def lie() -> int:
    return "no number"  # type: ignore[return-value]


@action(registry=registry)
async def refuse() -> None:
    raise perdure.GiveUp("never")


class Gate:
    """Actions that begin and wait."""

    def __init__(self, name: str = "wait") -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.open = asyncio.Event()
        self.details: list[Any] = []

        async def wait(what: str) -> str:
            self.begun.append(what)
            self.details.append(perdure.attempt().details)
            perdure.attempt().heartbeat({"at": what})
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.ended.append(f"{what} cancelled")
                raise
            self.ended.append(what)
            return what

        self.action = action(registry=Registry(), name=name)(wait)


@pytest.mark.covers("F7")
async def test_a_worker_announces_its_actions_with_their_schemas_when_it_starts(begin: Begin) -> None:
    async with begin(lookup, add) as stage:
        announce = stage.ear.announced[0]
        assert announce.worker == stage.worker.id
        assert (announce.slots, announce.interval_ms, announce.language) == (4, 3_000, "python")
        found, other = announce.actions
        assert (found.name, found.version, found.queue, found.cost, found.service) == ("lookup", 3, "geo", 0.5, "maps.example")
        assert found.description == "Find a place."
        assert found.limit is not None
        assert (found.limit.rate, found.limit.key, found.limit.key_concurrency) == (5, "place.country", 1)
        taken, given = msgspec.json.decode(found.input_schema), msgspec.json.decode(found.output_schema)  # type: ignore[arg-type]
        assert taken["required"] == ["place"]
        assert (given["type"], given["items"]) == ("array", {"type": "string"})
        assert (other.name, other.version, other.queue) == ("add", 1, "default")
        await stage.pass_time(61, step_s=1)
        assert len(stage.ear.announced) == 2


@pytest.mark.covers("F5")
async def test_calls_are_performed_reported_and_only_then_acked(begin: Begin) -> None:
    async with begin(add, multiply) as stage:
        stage.ear.gate = asyncio.Event()
        first = await stage.desk.ask(add.spec, 2, b=3, run="a")
        second = await stage.desk.ask(multiply.spec, 2, 3, run="b")
        await until(lambda: not stage.worker.running)
        await settled()
        assert stage.broker.settled == []
        stage.ear.gate.set()
        await until(lambda: len(stage.broker.settled) == 2)
        assert {(entry.id, entry.status, bytes(entry.value)) for entry in stage.ear.outcomes} == {  # type: ignore[arg-type]
            (first, "data", b"5"),
            (second, "data", b"6"),
        }
        assert sorted(stage.broker.settled) == [(first, "acked"), (second, "acked")]


@pytest.mark.covers("F5")
async def test_input_that_does_not_fit_is_an_error_before_the_handler_runs(begin: Begin) -> None:
    gate = Gate()
    async with begin(gate.action) as stage:
        await stage.desk.ask(gate.action.spec, 17)
        await until(lambda: stage.ear.outcomes)
        error = stage.ear.outcomes[0].error
        assert error is not None
        assert error.type == "perdure.model.errors:InvalidArguments"
        assert error.is_final
        assert gate.begun == []


async def test_output_that_breaks_its_declared_type_is_an_error_at_the_worker(begin: Begin) -> None:
    async with begin(lie) as stage:
        await stage.desk.ask(lie.spec)
        await until(lambda: stage.ear.outcomes)
        error = stage.ear.outcomes[0].error
        assert error is not None
        assert "lie" in error.message
        assert error.is_final


@pytest.mark.covers("F5")
async def test_an_exception_of_the_handler_is_an_outcome_and_the_worker_goes_on(begin: Begin) -> None:
    async with begin(refuse, add) as stage:
        await stage.desk.ask(refuse.spec, run="a")
        await stage.desk.ask(add.spec, 1, 1, run="b")
        await until(lambda: len(stage.ear.outcomes) == 2)
        error = next(entry.error for entry in stage.ear.outcomes if entry.error is not None)
        assert (error.message, error.is_final) == ("never", True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x80\x04\x95", "pickle"),
        (b"nonsense", "not JSON"),
        (encode(Beat(v=1, worker="x", sent_ms=1)), "'beat'"),
    ],
)
async def test_what_is_no_call_goes_to_the_dead_letters_with_the_reason(begin: Begin, body: bytes, reason: str) -> None:
    async with begin(add) as stage:
        await stage.desk.put(add.spec, Packet("bad", body))
        await until(stage.desk.dead)
        assert reason in stage.desk.dead()[0]


async def test_a_call_of_another_action_or_version_is_refused(begin: Begin) -> None:
    async with begin(add) as stage:
        await stage.desk.ask(lookup.spec, {})
        address = calls_address("geo", "lookup", 3)
        await stage.broker.send(calls_address("default", "add", 1), list(stage.broker.queue(address)))
        await until(stage.desk.dead)
        assert "'lookup' version 3; performed here is 'add' version 1" in stage.desk.dead()[0]


async def test_a_delivery_is_never_held_open_for_the_length_of_the_work(begin: Begin) -> None:
    gate = Gate()
    async with begin(gate.action, interval_us=60_000_000) as stage:
        id = await stage.desk.ask(gate.action.spec, "long")
        await until(lambda: gate.begun)
        await stage.pass_time(0.9, step_s=0.3)
        assert stage.broker.settled == []
        stage.ear.gate = asyncio.Event()
        await stage.pass_time(0.2)
        assert stage.broker.settled == [], "not before the nodes know of it"
        stage.ear.gate.set()
        await until(lambda: stage.broker.settled == [(id, "acked")])
        assert [entry.id for entry in stage.ear.beats[-1].attempts] == [id]
        assert not stage.ear.beats[-1].is_whole
        gate.open.set()
        await until(lambda: stage.ear.outcomes)


@pytest.mark.covers("F7")
async def test_beats_tell_of_all_attempts_under_way_and_of_what_they_report(begin: Begin) -> None:
    gate = Gate()
    async with begin(gate.action, interval_us=3_000_000) as stage:
        ids = [await stage.desk.ask(gate.action.spec, name, run=name) for name in ("a", "b")]
        await until(lambda: len(gate.begun) == 2)
        await stage.pass_time(3)
        whole = [beat for beat in stage.ear.beats if beat.is_whole and beat.attempts]
        assert sorted(entry.id for entry in whole[0].attempts) == sorted(ids)
        details = [entry.details for beat in stage.ear.beats for entry in beat.attempts]
        assert len(details) > len(ids)
        assert sorted(bytes(found) for found in details if isinstance(found, msgspec.Raw)) == [b'{"at":"a"}', b'{"at":"b"}'], "each once"
        gate.open.set()
        await until(lambda: len(stage.ear.outcomes) == 2)
        await stage.pass_time(3)
        assert stage.ear.beats[-1].attempts == []


@pytest.mark.covers("I36")
async def test_a_duplicate_of_an_attempt_under_way_is_not_performed_again_and_settled_with_it(begin: Begin) -> None:
    gate = Gate()
    async with begin(gate.action) as stage:
        id = await stage.desk.ask(gate.action.spec, "once")
        await until(lambda: gate.begun)
        stage.broker.again(id)
        await settled()
        assert stage.broker.settled == []
        gate.open.set()
        await until(lambda: stage.broker.settled)
        assert gate.begun == ["once"]
        assert stage.broker.settled == [(id, "acked")]


@pytest.mark.covers("I36")
async def test_a_duplicate_of_an_attempt_that_ended_lately_reports_its_outcome_again(begin: Begin) -> None:
    gate = Gate()
    gate.open.set()
    async with begin(gate.action) as stage:
        id = await stage.desk.ask(gate.action.spec, "once")
        await until(lambda: len(stage.broker.settled) == 1)
        await stage.desk.ask(gate.action.spec, "once")
        await until(lambda: len(stage.broker.settled) == 2)
        assert gate.begun == ["once"]
        assert stage.ear.outcomes[0] == stage.ear.outcomes[1]
        assert stage.ear.ids.count(f"outcome/{id}/{stage.worker.id}") == 2
        await stage.desk.ask(gate.action.spec, "once", number=2)
        await until(lambda: len(stage.ear.outcomes) == 3)
        assert gate.begun == ["once", "once"], "the next attempt is another one"


async def test_all_actions_share_one_pool_of_slots(begin: Begin) -> None:
    gates = [Gate("one"), Gate("two")]
    async with begin(*(gate.action for gate in gates), slots=3) as stage:
        for gate in gates:
            for at in range(3):
                await stage.desk.ask(gate.action.spec, f"{at}", run=f"{gate.action.spec.name}{at}")
        await until(lambda: stage.worker.running == 3)
        await settled()
        assert sum(len(gate.begun) for gate in gates) == 3
        for gate in gates:
            gate.open.set()
        await until(lambda: len(stage.ear.outcomes) == 6)


@pytest.mark.covers("S12")
async def test_a_worker_full_of_long_attempts_takes_nothing_that_others_could_do(begin: Begin) -> None:
    gate, other = Gate("long"), Gate("short")
    address = calls_address("default", "short", 1)
    async with begin(gate.action, other.action, slots=2) as stage:
        for at in range(2):
            await stage.desk.ask(gate.action.spec, f"{at}", run=f"l{at}")
        await until(lambda: stage.worker.running == 2)
        id = await stage.desk.ask(other.action.spec, "x", run="s")
        await settled()
        await stage.pass_time(2)
        assert stage.broker.width(address) == 0
        await stage.pass_time(WAIT_MAX_US / 1_000_000)
        assert (id, "given back") in stage.broker.settled
        assert len(stage.broker.queue(address)) == 1
        gate.open.set()
        other.open.set()
        await until(lambda: len(stage.ear.outcomes) == 2)
        await stage.pass_time(1)
        await until(lambda: len(stage.ear.outcomes) == 3)
        assert stage.broker.width(address) == 2


async def test_a_cancel_reaches_an_async_action(begin: Begin) -> None:
    gate, other = Gate(), Gate("other")
    async with begin(gate.action, other.action, slots=1) as stage:
        ids = [await stage.desk.ask(found.action.spec, found.action.spec.name, run=found.action.spec.name) for found in (gate, other)]
        await until(lambda: gate.begun == ["wait"])
        await settled()
        cancel = Packet("c", encode(Cancel(v=1, attempts=[*ids, "never heard of"], reason="the run was cancelled")))
        await stage.broker.send(worker_address(stage.worker.id), [cancel])
        await until(lambda: len(stage.ear.outcomes) == 2)
        assert gate.ended == ["wait cancelled"]
        assert other.begun == [], "the one that waited for a slot was never begun"
        assert {entry.status for entry in stage.ear.outcomes} == {"error"}
        await until(lambda: ("c", "acked") in stage.broker.settled)


async def test_a_cancel_reaches_the_thread_of_a_plain_action(begin: Begin) -> None:
    has_begun, has_seen = threading.Event(), threading.Event()

    @action(registry=Registry())
    def spin() -> None:
        has_begun.set()
        current = perdure.attempt()
        while not current.is_cancelled:
            pass
        has_seen.set()

    async with begin(spin) as stage:
        id = await stage.desk.ask(spin.spec)
        await until(has_begun.is_set)
        await stage.broker.send(worker_address(stage.worker.id), [Packet("c", encode(Cancel(v=1, attempts=[id])))])
        await until(has_seen.is_set)


async def test_what_is_no_cancel_is_refused(begin: Begin) -> None:
    async with begin(add) as stage:
        await stage.broker.send(worker_address(stage.worker.id), [Packet("c", encode(Beat(v=1, worker="x", sent_ms=1)))])
        await until(stage.desk.dead)
        assert "cancel" in stage.desk.dead()[0]


@pytest.mark.covers("I18")
async def test_an_attempt_has_the_timeout_of_its_call(begin: Begin) -> None:
    gate = Gate()
    async with begin(gate.action.options(timeout="2s")) as stage:
        await stage.desk.ask(gate.action.options(timeout="2s").spec, "slow")
        await until(lambda: gate.begun)
        await stage.pass_time(2.5)
        await until(lambda: stage.ear.outcomes)
        error = stage.ear.outcomes[0].error
        assert error is not None
        assert error.type == "perdure.model.errors:ActionTimedOut"


@pytest.mark.covers("I37")
async def test_a_worker_that_is_closed_ends_what_it_has_and_leaves(begin: Begin) -> None:
    gate, other = Gate(), Gate("other")
    async with begin(gate.action, other.action, slots=1) as stage:
        ids = [await stage.desk.ask(found.action.spec, "x", run=found.action.spec.name) for found in (gate, other)]
        await until(lambda: gate.begun)
        await settled()
        closing = asyncio.create_task(stage.worker.close())
        await until(lambda: (ids[1], "given back") in stage.broker.settled)
        gate.open.set()
        assert await closing == 0
        assert [entry.id for entry in stage.ear.outcomes] == [ids[0]]
        assert (ids[0], "acked") in stage.broker.settled
        assert [entry.worker for entry in stage.ear.left] == [stage.worker.id]
        assert stage.ear.heard[-1] == stage.ear.left[0], "its last word"
        assert other.begun == []


async def test_work_that_outlasts_the_drain_is_cancelled_given_up_and_counted(begin: Begin) -> None:
    gate = Gate()
    async with begin(gate.action, drain_us=2_000_000) as stage:
        id = await stage.desk.ask(gate.action.spec, "a")
        await until(lambda: gate.begun)
        assert await stage.close() == 1
        assert gate.ended == ["a cancelled"]
        assert stage.ear.outcomes == []
        assert stage.ear.left
        assert (id, "acked") not in stage.broker.settled or stage.ear.beats


async def test_two_actions_of_one_address_are_refused() -> None:
    @action(registry=Registry(), name="add")
    async def other() -> None: ...

    with pytest.raises(errors.DefinitionConflict, match="actions are named 'add'"):
        WorkerService(_nowhere(), [add.spec, other.spec], WorkerOptions(name="w"))


@pytest.mark.parametrize("options", [{"name": "a b"}, {"slots": 0}, {"interval_us": 1}])
async def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOption):
        WorkerService(_nowhere(), [add.spec], WorkerOptions(**{"name": "w", **options}))
    with pytest.raises(errors.InvalidOption):
        WorkerService(_nowhere(), [], WorkerOptions(name="w"))


def _nowhere() -> Surroundings:
    return Stage([add], WorkerOptions(name="x")).worker._around


async def test_a_transactional_action_is_refused() -> None:
    @action(registry=Registry(), transactional=True)
    async def pay() -> None: ...

    with pytest.raises(errors.InvalidOption, match="transactional 'pay'"):
        WorkerService(_nowhere(), [pay.spec], WorkerOptions(name="w"))


async def test_an_outcome_that_the_transport_cannot_carry_is_an_error(begin: Begin) -> None:
    @action(registry=Registry())
    async def much(size: int) -> str:
        return "x" * size

    async with begin(much) as stage:
        stage.ear.bytes_max = 5_000
        id = await stage.desk.ask(much.spec, 10_000)
        await until(lambda: stage.broker.settled == [(id, "acked")])
        error = stage.ear.outcomes[0].error
        assert error is not None
        assert (error.type, error.is_final) == ("perdure.model.errors:PacketTooLarge", True)


async def test_nothing_new_is_begun_while_too_many_reports_cannot_leave(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "UNSAID_MAX", 2)
    gate = Gate()
    gate.open.set()
    async with begin(gate.action, slots=8) as stage:
        await until(lambda: stage.ear.beats)
        stage.ear.is_away = True
        for at in range(8):
            await stage.desk.ask(gate.action.spec, f"{at}", run=f"r{at}")
            await settled()
        assert 2 <= len(gate.begun) < 8
        stage.ear.is_away = False
        await stage.pass_time(3)
        await until(lambda: len(stage.ear.outcomes) == 8)
        assert len(gate.begun) == 8


async def test_an_address_that_cannot_be_handled_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage([add], WorkerOptions(name="w", slots=4))
    refusals: list[str] = []
    handle = stage.broker.handle

    async def refuse_first(address: str, handler: Any, *, slots: int) -> Any:
        if not refusals:
            refusals.append(address)
            raise errors.TransportUnavailable(transport="broker", problem="not now")
        return await handle(address, handler, slots=slots)

    stage.broker.handle = refuse_first  # type: ignore[method-assign]
    await stage.worker.open()
    assert "is not handled yet" in caplog.text
    await stage.pass_time(2)
    address = calls_address("default", "add", 1)
    await until(lambda: stage.broker.width(address) == 4 and stage.broker.width(worker_address(stage.worker.id)))
    await stage.close()


async def test_a_transport_that_is_away_at_the_start_is_told_and_nothing_is_left() -> None:
    stage = Stage([add], WorkerOptions(name="w"))
    stage.broker.is_away = True
    with pytest.raises(errors.TransportUnavailable):
        await stage.worker.open()
    assert stage.worker._tasks == []


async def test_what_ended_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "ENDED_MAX", 3)
    monkeypatch.setattr(holdings, "ENDED_BYTES_MAX", 100)
    found = Holdings()
    for at in range(5):
        found.end(_holding(f"{at}"), Said(f"{at}", b"x"))
    assert [found.outcome(f"{at}") is not None for at in range(5)] == [False, False, True, True, True]
    found.end(_holding("large"), Said("large", b"x" * 200))
    assert found.outcome("large") is not None
    found.end(_holding("next"), Said("next", b"x"))
    assert found.outcome("large") is None


def _holding(id: str) -> Holding:
    return Holding(id, attempt(add.spec, 1, 2), 0, [])
