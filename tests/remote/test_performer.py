"""Attempts elsewhere: sent once somebody serves them, kept while their worker beats, lost with it, sent again when nobody has them."""

import asyncio
from typing import Any

import pytest

from perdure import errors
from perdure.insight.registry import attendance
from perdure.model.call import ActionSpec
from perdure.model.payload import Content
from perdure.model.registry import ACTION_RECORDS, BEAT_RECORDS, WORKER_RECORDS
from perdure.ports.records import RecordChange
from perdure.remote import performer
from perdure.remote.carriers import DirectCarrier
from perdure.wire.attempts import Sender, call_of
from perdure.wire.messages import Call, Limit, Outcome
from tests.remote.fakes import SECOND, Scene

A = "r#1#1~1.1"


async def test_a_call_is_sent_to_the_address_of_a_live_worker() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    assert scene.performer.takes(ActionSpec("look"))
    scene.perform()
    await scene.settle()
    assert [(call.id, call.action, call.lease_ms) for call in scene.carrier.sent] == [(A, "look", 10_000)]


async def test_nobody_takes_an_action_that_no_live_worker_has_and_a_new_worker_is_noticed() -> None:
    scene = Scene()
    assert not scene.performer.takes(ActionSpec("look"))
    await scene.advance(7)
    assert scene.served == 0
    await scene.worker()
    await scene.advance(4)
    assert scene.served == 1
    assert scene.performer.takes(ActionSpec("look"))


@pytest.mark.covers("F7")
async def test_a_worker_that_is_silent_for_three_intervals_is_sent_nothing_more() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    await scene.advance(9.5)
    await scene.directory.refresh()
    assert not scene.performer.takes(ActionSpec("look"))
    await scene.beat()
    await scene.directory.refresh()
    assert scene.performer.takes(ActionSpec("look"))


async def test_an_outcome_ends_the_attempt_once() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform()
    await scene.settle()
    assert scene.hear(A).done()
    assert scene.hear(A) is None
    assert [(id, outcome.content.data) for id, outcome in scene.ended] == [(A, b"1")]


async def test_an_attempt_is_lost_a_lease_after_the_last_beat_that_has_it_and_what_is_said_later_is_not_taken() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform()
    for _ in range(10):
        await scene.beat(A)
        await scene.advance(3)
    assert scene.ended == []
    await scene.advance(14)
    assert [(id, outcome.is_lost) for id, outcome in scene.ended] == [(A, True)]
    assert scene.hear(A) is None


async def test_attempts_of_a_worker_that_left_are_lost_at_once() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform()
    await scene.settle()
    await scene.beat(A)
    await scene.advance(4)
    await scene.leave()
    await scene.advance(4)
    assert [outcome.is_lost for _, outcome in scene.ended] == [True]


async def test_what_was_sent_and_never_heard_of_is_sent_again_under_the_same_id_unless_it_may_lie_in_its_queue() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.carrier.queued = 1
    scene.perform()
    for _ in range(7):
        await scene.beat()
        await scene.advance(3)
    assert scene.carrier.ids() == [A]
    scene.carrier.queued = 0
    await scene.beat()
    await scene.advance(4)
    assert scene.carrier.ids() == [A, A]


async def test_a_queue_that_is_never_empty_does_not_keep_a_lost_call_for_ever() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.carrier.queued = 1
    scene.perform()
    for _ in range(12):
        await scene.beat()
        await scene.advance(3)
    assert scene.carrier.ids() == [A, A]


async def test_an_attempt_of_a_node_before_is_awaited_first_and_sent_only_if_nobody_has_it() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform(is_again=True)
    scene.perform("2", is_again=True)
    for _ in range(3):
        await scene.beat(A)
        await scene.advance(3)
    assert scene.carrier.ids() == ["r#1#2~1.1"]


async def test_no_more_are_sent_than_the_live_workers_soon_get_to() -> None:
    scene = Scene()
    await scene.worker(slots=20)
    await scene.directory.refresh()
    for number in range(100):
        scene.perform(f"{number}")
    await scene.settle()
    assert len(scene.carrier.sent) == 40
    scene.hear(scene.carrier.sent[0].id)
    await scene.settle()
    assert len(scene.carrier.sent) == 41


async def test_where_calls_come_back_quickly_as_many_are_on_their_way_as_lately_came_back_in_half_a_second() -> None:
    scene = Scene()
    await scene.worker(slots=8)
    await scene.directory.refresh()
    for number in range(1_000):
        scene.perform(f"{number}")
    await scene.settle()
    assert len(scene.carrier.sent) == 16
    heard = 0
    while heard < 100:
        scene.hear(scene.carrier.sent[heard].id)
        heard += 1
        await scene.settle()
    assert len(scene.carrier.sent) == 200, "a hundred that came back, and a hundred on their way"
    await scene.advance(1.1)
    scene.hear(scene.carrier.sent[heard].id)
    await scene.settle()
    assert len(scene.carrier.sent) == 200, "none has come back for so long that fewer are worth having on their way"


async def test_calls_wait_while_the_transport_is_away_and_go_out_when_it_is_back() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.carrier.is_away = True
    scene.perform()
    await scene.advance(2)
    assert scene.carrier.sent == []
    scene.carrier.is_away = False
    await scene.advance(6)
    assert scene.carrier.ids() == [A]


@pytest.mark.covers("F9")
async def test_a_call_that_is_too_large_for_the_transport_fails_and_its_neighbours_go_out() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform("1")
    scene.perform("2", args=(Content("json", b"1" * 2_000),))
    scene.perform("3")
    await scene.settle()
    assert scene.carrier.ids() == [A, "r#1#3~1.1"]
    ((id, outcome),) = scene.ended
    assert (id, outcome.failure.type, outcome.failure.is_final) == ("r#1#2~1.1", "perdure.model.errors:PacketTooLarge", True)
    assert "2000 bytes" in outcome.failure.message
    scene.perform("4")
    await scene.settle()
    assert scene.carrier.ids()[2:] == ["r#1#4~1.1"], "there is room for others"


async def test_a_call_that_a_driver_cannot_send_fails_as_its_policy_says_and_its_neighbours_go_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.carrier.faults = {"2": ValueError("no such header"), "3": errors.Unsupported(what="This call", why="it is odd")}
    for name in "1234":
        scene.perform(name)
    await scene.settle()
    assert scene.carrier.ids() == [A, "r#1#4~1.1"]
    (driver, one), (ours, other) = scene.ended
    assert (driver, one.failure.type, one.failure.is_final) == ("r#1#2~1.1", "perdure.model.errors:RequestFailed", False)
    assert "ValueError: no such header" in one.failure.message
    assert (ours, other.failure.type, other.failure.is_final) == ("r#1#3~1.1", "perdure.model.errors:Unsupported", True)
    assert "r#1#2~1.1 could not be sent to perdure.calls.default.look.v1" in caplog.text
    scene.carrier.faults.clear()
    scene.perform("2", number=2)
    await scene.settle()
    assert scene.carrier.ids()[2:] == ["r#1#2~1.2"], "there is room for others"


async def test_a_call_that_cannot_even_be_written_fails_and_its_neighbours_go_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(attempt: Any, *given: Any, **named: Any) -> Any:
        if attempt.call == "2":
            raise AssertionError("what no attempt has")
        return call_of(attempt, *given, **named)

    monkeypatch.setattr(performer, "call_of", write)
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    for name in "123":
        scene.perform(name)
    await scene.settle()
    assert scene.carrier.ids() == [A, "r#1#3~1.1"]
    assert [(id, outcome.failure.type) for id, outcome in scene.ended] == [("r#1#2~1.1", "perdure.model.errors:RequestFailed")]


async def test_a_service_that_is_called_by_a_driver_which_fails_fails_its_call() -> None:
    heard: list[Outcome] = []

    class Caller:
        async def perform(self, call: Call, address: str, record: Any) -> None:
            raise RuntimeError("a driver's own")

    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    route = scene.directory.route(ActionSpec("look"))
    assert route is not None
    performance = scene.perform()
    call = call_of(performance.attempt, Sender(lease_ms=1), sent_us=0)
    await DirectCarrier(Caller()).send(route, [call], heard.append)
    await scene.settle()
    assert [(told.id, told.status, told.error.type) for told in heard if told.error] == [(A, "error", "perdure.model.errors:RequestFailed")]


async def test_a_store_that_is_away_loses_nobody() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform()
    await scene.beat(A)
    await scene.advance(4)
    scene.records.is_away = True
    await scene.advance(30)
    assert scene.ended == []


@pytest.mark.covers("I18")
async def test_the_total_time_of_the_policy_ends_a_call_whose_worker_is_dead() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform(end_us=scene.clock.now_us() + 5 * SECOND)
    await scene.advance(6)
    (_, outcome), *_ = scene.ended
    assert outcome.failure.type == "perdure.model.errors:ActionTimedOut"
    assert outcome.failure.is_final
    await scene.beat(A)
    await scene.advance(4)
    assert scene.carrier.cancelled == [("w", A)]


async def test_a_call_that_nobody_begins_in_time_fails_and_one_that_has_begun_does_not() -> None:
    scene = Scene()
    spec = ActionSpec("look", start_us=5 * SECOND)
    await scene.worker()
    await scene.directory.refresh()
    scene.perform("1", spec=spec)
    scene.perform("2", spec=spec)
    await scene.beat(A)
    await scene.advance(6)
    assert [id for id, _ in scene.ended] == ["r#1#2~1.1"]
    assert "was begun by nobody within 5.00s" in scene.ended[0][1].failure.message


async def test_a_call_that_is_not_to_wait_for_a_worker_fails_once_it_is_known_that_there_is_none() -> None:
    scene = Scene()
    spec = ActionSpec("look", is_failing_unserved=True)
    assert scene.performer.takes(spec)
    scene.perform(spec=spec)
    await scene.settle()
    await scene.advance(0.1)
    assert "has no worker" in scene.ended[0][1].failure.message


async def test_a_cancelled_attempt_is_over_here_and_its_worker_is_told() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    performance = scene.perform()
    await scene.beat(A)
    await scene.advance(4)
    performance.cancel()
    await scene.settle()
    assert scene.carrier.cancelled == [("w", A)]
    assert scene.ended[0][1].failure.type == "asyncio.exceptions:CancelledError"


async def test_an_attempt_that_is_let_go_is_neither_cancelled_nor_told_of() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    performance = scene.perform()
    await scene.settle()
    performance.let_go()
    await scene.advance(20)
    assert scene.carrier.cancelled == []
    assert scene.ended == []


async def test_what_an_attempt_reported_reaches_the_run() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform()
    await scene.beat(A, details=b'{"page":3}')
    await scene.advance(4)
    assert [(id, content.data) for id, content in scene.told] == [(A, b'{"page":3}')]


async def test_a_call_goes_to_the_newest_version_that_is_served_and_one_that_names_a_version_to_that() -> None:
    scene = Scene()
    await scene.worker("old", version=1)
    await scene.worker("new", version=2)
    await scene.directory.refresh()
    assert scene.directory.route(ActionSpec("look")).version == 2
    assert scene.directory.route(ActionSpec("look", version=2, is_chosen=True)).version == 2
    assert scene.directory.route(ActionSpec("look", version=3, is_chosen=True)) is None


async def test_a_limit_that_was_announced_is_known() -> None:
    scene = Scene()
    await scene.worker(limit=Limit(concurrency=2, key="order.user", key_concurrency=1))
    await scene.directory.refresh()
    limit = scene.directory.limit(ActionSpec("look"))
    assert (limit.concurrency, limit.key, limit.key_concurrency) == (2, "order.user", 1)


async def test_calls_that_wait_for_workers_that_are_gone_go_to_others() -> None:
    scene = Scene()
    await scene.worker("old", version=1)
    await scene.directory.refresh()
    scene.carrier.is_away = True
    scene.perform()
    await scene.advance(10)
    await scene.worker("new", version=2)
    scene.carrier.is_away = False
    await scene.advance(9)
    assert [call.version for call in scene.carrier.sent] == [2]


async def test_a_look_that_takes_longer_than_the_pause_between_looks_is_not_the_last_one() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform()
    await scene.settle()
    scene.records.gate = asyncio.Event()
    await scene.advance(4)
    scene.perform("2")
    await scene.advance(6)
    scene.records.gate.set()
    await scene.beat(A)
    await scene.advance(4)
    await scene.leave()
    await scene.advance(12)
    assert (A, True) in [(id, outcome.is_lost) for id, outcome in scene.ended]


async def test_a_version_that_comes_where_another_is_served_already_is_noticed_too() -> None:
    scene = Scene()
    await scene.worker("old", version=1)
    await scene.directory.refresh()
    wanted = ActionSpec("look", version=2, is_chosen=True)
    assert not scene.performer.takes(wanted)
    before = scene.served
    await scene.worker("new", version=2)
    await scene.advance(4)
    assert scene.served == before + 1
    assert scene.performer.takes(wanted)


async def test_a_record_that_cannot_be_read_stands_in_nobodys_way_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    await scene.worker()
    for kind in (WORKER_RECORDS, BEAT_RECORDS, ACTION_RECORDS):
        await scene.records.write([RecordChange(kind, "from the future", b'{"v": "unknown"')])
    await scene.directory.refresh()
    await scene.directory.refresh()
    assert scene.performer.takes(ActionSpec("look"))
    assert len([entry for entry in caplog.records if "from the future" in entry.getMessage()]) == 2
    found = await attendance(scene.records, scene.clock.now_us())
    assert [worker.worker for worker in found.workers] == ["w"]
    assert [action.name for action in found.actions] == ["look"]


async def test_a_limit_is_that_of_the_version_that_is_served_not_of_one_that_is_gone() -> None:
    scene = Scene()
    await scene.worker("old", version=1, limit=Limit(concurrency=1))
    await scene.leave("old")
    await scene.worker("new", version=2)
    await scene.directory.refresh()
    assert scene.directory.limit(ActionSpec("look")) is None


async def test_a_store_that_was_away_for_longer_than_a_lease_loses_no_attempt_whose_worker_had_nowhere_to_say_that_it_lives() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    scene.perform()
    await scene.settle()
    await scene.beat(A)
    await scene.advance(4)
    scene.records.is_away = True
    await scene.advance(60)
    scene.records.is_away = False
    await scene.advance(4)
    assert scene.ended == []
    assert scene.performer.takes(ActionSpec("look"))
    await scene.beat(A)
    await scene.advance(4)
    assert scene.ended == []
    await scene.advance(15)
    assert [(id, outcome.is_lost) for id, outcome in scene.ended] == [(A, True)]


async def test_lanes_to_addresses_that_nobody_serves_any_more_are_not_kept() -> None:
    scene = Scene()
    for version in range(1, 6):
        await scene.worker(f"w{version}", version=version)
        await scene.directory.refresh()
        scene.perform(f"{version}")
        await scene.settle()
        assert scene.hear(f"r#1#{version}~1.1").done()
        await scene.leave(f"w{version}")
        await scene.advance(4)
    await scene.performer.run_once()
    assert len(scene.performer._lanes) <= 1


async def test_what_is_urgent_goes_before_what_waited_longer() -> None:
    scene = Scene()
    await scene.worker(slots=1)
    await scene.directory.refresh()
    for number in range(1, 41):
        scene.perform(f"{number}")
    await scene.settle()
    scene.perform("urgent", spec=ActionSpec("look", priority=5))
    scene.hear(scene.carrier.ids()[0])
    await scene.settle()
    assert "r#1#urgent~1.1" in scene.carrier.ids()


async def test_a_worker_that_begins_again_under_its_name_performs_what_it_announces_then() -> None:
    scene = Scene()
    await scene.worker()
    await scene.directory.refresh()
    await scene.worker(name="w", version=1, queue="other")
    await scene.directory.refresh()
    assert scene.performer.takes(ActionSpec("look", queue="other"))


@pytest.mark.covers("X16")
async def test_an_action_is_tried_once_unless_it_says_more_and_the_way_to_it_is_tried_for_ever_with_a_cap() -> None:
    scene = Scene()
    assert ActionSpec("look").retry.attempts == 1
    await scene.worker()
    await scene.directory.refresh()
    scene.carrier.is_away = True
    scene.perform()
    for _ in range(100):
        await scene.beat()
        await scene.advance(3)
    assert scene.ended == []
    scene.carrier.is_away = False
    await scene.advance(6)
    assert scene.carrier.ids() == [A]
