"""Has attempts performed elsewhere. Protects calls from getting lost on the way, at a broker, or with a worker (G4, G9).

A call is sent when somebody serves its action, and counts as lost when its worker was silent for a lease; what was sent and never heard of
is sent again under the same id. All of it is in memory only: the journal's open call is the truth, and the next node begins from there.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from msgspec import Raw, json, structs

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.duration import span_text
from perdure.model.errors import EngineClosed
from perdure.model.failure import Failure
from perdure.model.payload import unpacked
from perdure.model.registry import BeatRecord, action_key
from perdure.ports.clock import Clock
from perdure.ports.performer import PlainPerformer
from perdure.ports.store import Batch
from perdure.remote.cancelling import Cancelling
from perdure.remote.carriers import Carrier
from perdure.remote.directory import Directory, Route
from perdure.remote.lane import Lane
from perdure.remote.looks import Looks
from perdure.remote.performance import Deliver, RemotePerformance, Stage, Tell
from perdure.wire.attempts import Sender, attempt_id, call_of, outcome_of
from perdure.wire.messages import Call
from perdure.wire.messages import Outcome as Told

SILENT_LEASES_MAX = 3
"""After so many leases without a word a call is sent again, whatever else lies in its queue."""
FRESH_US = 1_000_000
_TIMED_OUT = ("perdure.model.errors:ActionTimedOut", "perdure.model.errors:ActionFailed", "builtins:TimeoutError", "builtins:Exception")
_NOT_WANTED = Outcome(
    failure=Failure("asyncio.exceptions:CancelledError", "the workflow stopped waiting", is_final=True), error_types=_TIMED_OUT
)


class RemotePerformer:
    """``carriers``: by scheme. ``on_served``: actions are served that were not. ``late``: outcomes that nobody waited for any more."""

    def __init__(self, directory: Directory, carriers: Mapping[str, Carrier], clock: Clock, sender: Sender) -> None:
        self._directory = directory
        self._carriers = carriers
        self._clock = clock
        self._sender = sender
        self._lease_us = sender.lease_ms * 1_000
        self._under_way: dict[str, RemotePerformance] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._homeless: dict[str, RemotePerformance] = {}
        self._unwritten: set[asyncio.Future[None]] = set()
        self._wanted: set[str] = set()
        self._cancelling = Cancelling(clock, SILENT_LEASES_MAX * self._lease_us)
        self._looks = Looks(clock, self.run_once, pause_us=self._lease_us // 3, is_needed=self._has_business)
        self.on_served: Callable[[], None] = lambda: None
        directory.on_change = self._on_change
        directory.on_beat = self._on_beat

    @property
    def here(self) -> PlainPerformer | None:
        return None

    def listen(self, heard: Callable[[], None]) -> None:
        self.on_served = heard

    def takes(self, spec: ActionSpec) -> bool:
        if self._directory.route(spec) is not None or spec.is_impatient:
            return True
        if spec.name not in self._wanted:
            self._wanted.add(spec.name)
            self._looks.soon(at_once=self._is_outdated())
        return False

    def is_elsewhere(self, spec: ActionSpec) -> bool:
        """Always: others perform them."""
        return True

    def perform(self, attempt: Attempt, deliver: Deliver, beat: Tell) -> RemotePerformance:
        performance = RemotePerformance(attempt_id(attempt), attempt, self, deliver, beat)
        performance.since_us = self._clock.now_us()
        self._under_way[performance.id] = performance
        self._set_alarms(performance)
        route = self._directory.route(attempt.spec)
        if route is None:
            self._homeless[performance.id] = performance
        elif attempt.is_again and route.record is None:
            self._expect(performance, route)
        else:
            self._put(performance, route)
        self._looks.soon(at_once=route is None and self._is_outdated())
        return performance

    def keep_with(self, keep: Callable[[Attempt, Outcome], Batch]) -> None:
        """Nothing elsewhere shares a transaction with its outcome."""

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        return self._directory.schemas.prove(attempt, outcome, worker)

    async def close(self) -> None:
        await self._looks.close()
        for performance in list(self._under_way.values()):
            self.forget(performance)
        # What was heard and is not durable may never be; whoever told it must not take it for done.
        for done in list(self._unwritten):
            if not done.done():
                done.set_exception(EngineClosed(state="closed", asked="taking an outcome in"))
        await self._cancelling.close()
        for lane in self._lanes.values():
            await lane.close()
        for carrier in self._carriers.values():
            await carrier.close()
        self._lanes.clear()

    # On the way out.

    def _expect(self, performance: RemotePerformance, route: Route) -> None:
        """A node before this one may have sent it: whoever has it will be heard of soon, and only if not it is sent again."""
        performance.stage, performance.place = Stage.SENT, route.place
        performance.since_us = self._clock.now_us() - self._lease_us // 3
        self._lane(route).note_out(performance.id)

    def _put(self, performance: RemotePerformance, route: Route) -> None:
        performance.place = route.place
        self._lane(route).put(performance, priority=performance.attempt.spec.priority)

    def _lane(self, route: Route) -> Lane:
        lane = self._lanes.get(route.place)
        if lane is None:
            lane = self._lanes[route.place] = Lane(self._carriers[route.transport], self._clock, self._call, self.hear)
        lane.route = route
        return lane

    def _call(self, performance: RemotePerformance, route: Route) -> Call:
        """Raises `InvalidArguments` for what the stranger who would perform it does not take."""
        self._directory.schemas.check_input(action_key(route.action, route.version, route.queue), performance.attempt)
        return call_of(performance.attempt, self._sender, sent_us=self._clock.now_us(), version=route.version)

    def _set_alarms(self, performance: RemotePerformance) -> None:
        attempt = performance.attempt
        if attempt.end_us is not None:
            why = "took longer than the total time of its retry policy"
            performance.alarms.append(self._clock.call_at(attempt.end_us, partial(self._time_out, performance, why)))
        if attempt.spec.start_us is not None:
            begin_us = attempt.scheduled_us + attempt.spec.start_us
            performance.alarms.append(self._clock.call_at(begin_us, partial(self._miss, performance)))

    def _time_out(self, performance: RemotePerformance, why: str) -> None:
        self._tell_worker(performance)
        self._end(performance, _timed_out(performance.attempt, why))

    def _miss(self, performance: RemotePerformance) -> None:
        if performance.stage is not Stage.HELD and not performance.is_over:
            span = span_text(performance.attempt.spec.start_us or 0)
            self._time_out(performance, f"was begun by nobody within {span} of being scheduled")

    # What is heard.

    def hear(self, told: Told) -> "asyncio.Future[None] | None":
        """An attempt has ended. Gives what is done when that is durable; ``None``: its run is not here. Raises `InvalidMessage`."""
        performance = self._under_way.get(told.id)
        if performance is None:
            return None
        outcome = self.prove(performance.attempt, outcome_of(told), told.worker)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unwritten.add(done)
        done.add_done_callback(self._settled)
        self._end(performance, structs.replace(outcome, done=done))
        return done

    def _settled(self, done: "asyncio.Future[None]") -> None:
        self._unwritten.discard(done)
        if not done.cancelled():
            done.exception()  # Whoever waits for it has it; that nobody does is no fault.

    def _on_beat(self, beat: BeatRecord, heard_us: int) -> None:
        for id in beat.attempts:
            self._cancelling.hear(beat.worker, id)
            performance = self._under_way.get(id)
            if performance is not None:
                performance.stage, performance.since_us, performance.worker = Stage.HELD, heard_us, beat.worker
                if id in beat.details:
                    performance.tell(performance.attempt, unpacked(bytes(beat.details[id])))
        if beat.has_left:
            self._lose(entry for entry in list(self._under_way.values()) if entry.worker == beat.worker)

    def _on_change(self) -> None:
        self._wanted = {name for name in self._wanted if self._directory.route(ActionSpec(name)) is None}
        self._find_homes()
        self.on_served()

    def _find_homes(self) -> None:
        for performance in list(self._homeless.values()):
            route = self._directory.route(performance.attempt.spec)
            if route is not None:
                del self._homeless[performance.id]
                self._put(performance, route)

    # Looking after what is under way.

    def _is_outdated(self) -> bool:
        looked_us = self._directory.refreshed_us
        return looked_us is None or self._clock.now_us() - looked_us > FRESH_US

    def _has_business(self) -> bool:
        return bool(self._under_way or self._wanted or self._cancelling)

    async def run_once(self) -> int:
        """See who lives and what became of the calls; gives how many were lost, or are sent again. Raises `Unavailable`."""
        blind_us = await self._directory.refresh()
        now_us = self._clock.now_us()
        for entry in self._under_way.values() if blind_us else ():
            entry.since_us = min(now_us, entry.since_us + blind_us)
        self._move_lanes()
        self._refuse_unserved()
        self._cancelling.forget_old()
        lost = [entry for entry in self._under_way.values() if entry.stage is Stage.HELD and now_us - entry.since_us > self._lease_us]
        self._lose(lost)
        return len(lost) + await self._send_again(now_us)

    def _lose(self, lost: Iterable[RemotePerformance]) -> None:
        for performance in lost:
            self._end(performance, Outcome(is_lost=True))

    def _move_lanes(self) -> None:
        """Lanes know how many live workers they have; what waits for workers that are gone finds others, if there are any."""
        for place, lane in self._lanes.items():
            lane.route = self._directory.at(place)
            if lane.route is None:
                waiting = [lane.line.pop() for _ in range(len(lane.line))]
                self._homeless.update({performance.id: performance for performance in waiting})
            lane.flush()
        self._lanes = {place: lane for place, lane in self._lanes.items() if lane.route is not None or lane.is_busy}
        self._find_homes()

    def _refuse_unserved(self) -> None:
        for performance in list(self._homeless.values()):
            if performance.attempt.spec.is_failing_unserved:
                self._time_out(performance, "has no worker that performs it, and unserved='fail' asks not to wait for one")

    async def _send_again(self, now_us: int) -> int:
        """What was sent a lease ago and is in nobody's beats is either in its queue still, or lost."""
        silent: dict[tuple[str, str], list[RemotePerformance]] = {}
        for entry in self._under_way.values():
            is_silent = entry.stage is Stage.SENT and now_us - entry.since_us > self._lease_us
            if is_silent and entry.place is not None and not self._carriers[entry.place[0]].is_under_way(entry.id):
                silent.setdefault(entry.place, []).append(entry)
        count = 0
        for place, entries in silent.items():
            lane = self._lanes[place]
            if lane.route is None:
                continue
            is_waiting = await self._carriers[place[0]].is_waiting(lane.route)
            for entry in entries:
                if not entry.is_over and (not is_waiting or now_us - entry.since_us > SILENT_LEASES_MAX * self._lease_us):
                    count += 1
                    lane.out.discard(entry.id)
                    lane.put(entry, priority=entry.attempt.spec.priority)
        return count

    # How it ends.

    def _end(self, performance: RemotePerformance, outcome: Outcome) -> None:
        if performance.is_over:
            return
        self.forget(performance)
        performance.deliver(performance.attempt, outcome)

    def forget(self, performance: RemotePerformance) -> None:
        """As its owner: whatever comes of it finds the run through the store."""
        performance.is_over = True
        for alarm in performance.alarms:
            alarm.cancel()
        self._under_way.pop(performance.id, None)
        self._homeless.pop(performance.id, None)
        if performance.place is not None and performance.place in self._lanes:
            self._lanes[performance.place].drop(performance.id)

    def give_up(self, performance: RemotePerformance) -> None:
        """As its owner: the worker is told, and the call is over."""
        if performance.is_over:
            return
        self._tell_worker(performance)
        self.forget(performance)
        asyncio.get_running_loop().call_soon(performance.deliver, performance.attempt, _NOT_WANTED)

    def _tell_worker(self, performance: RemotePerformance) -> None:
        if performance.place is not None and performance.stage is not Stage.WAITING:
            self._cancelling.cancel(self._carriers[performance.place[0]], performance.worker, performance.id)


def _timed_out(attempt: Attempt, why: str) -> Outcome:
    message = f"attempt {attempt.number} of {attempt.spec.name} {why}"
    failure = Failure("perdure.model.errors:ActionTimedOut", message, Raw(json.encode((None, {"message": message}))), is_final=True)
    return Outcome(failure=failure, error_types=_TIMED_OUT)
