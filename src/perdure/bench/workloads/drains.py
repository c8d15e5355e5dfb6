"""A queue of calls that lies in the store already, drained by one worker process: what a job of a queue library is."""

import asyncio
import time

import msgspec

from perdure.app.stores import open_store
from perdure.bench.bench import Bench
from perdure.bench.result import Result
from perdure.bench.workflows import distant, nothing
from perdure.bench.workloads.callees import Use
from perdure.bench.workloads.crews import BEGIN, END, member
from perdure.model.call import Attempt
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content
from perdure.ports.store import Store
from perdure.ports.system import SystemClock
from perdure.ports.transport import Packet, calls_address
from perdure.wire.attempts import Sender, call_of
from perdure.wire.encoding import encode
from perdure.wire.headers import headers_of

JOBS, PUT = 10_000, 500
_LOOK_S = 0.05


async def drained(bench: Bench) -> Result:
    """Put calls of a run that nobody moves, as a node does; then a worker performs them, and each outcome is durable in the run's inbox.

    The time counts from the first call that was taken to the last packet that is gone, which is after its outcome.
    """
    jobs = bench.sized(JOBS)
    async with bench.engine(is_client=True) as client:
        run = (await client.start(nothing, 1)).id
    store = open_store(bench.url)
    await store.open()
    try:
        putting_s = await _put(store, run, jobs)
        async with member(bench, bench.settings["loop"], "callee") as worker:
            await worker.ask(BEGIN)
            first, began = await _left(store, jobs - 1)
            wall_s = (await _left(store, 0))[1] - began
            use = msgspec.json.decode(await worker.ask(END), type=Use)
    finally:
        await store.close()
    done = first
    more = {"jobs": jobs, "counted": done, "put_s": round(jobs / putting_s, 1), "in_batches_of": PUT}
    cost = {"worker_us_per_call": round(use.cpu_s / jobs * 1e6, 1), "worker_cores": round(use.cpu_s / wall_s, 2)}
    return bench.result("calls_drain", done / wall_s, "calls/s", **more, **cost)


async def _put(store: Store, run: RunId, jobs: int) -> float:
    clock, sender, spec = SystemClock(), Sender(namespace="", node="bench", lease_ms=10_000), distant.spec
    address, began = calls_address(spec.queue or "", spec.name, spec.version), time.perf_counter()
    for first in range(0, jobs, PUT):
        packets: list[tuple[str, Packet]] = []
        for i in range(first, min(first + PUT, jobs)):
            args = (Content("json", msgspec.json.encode(i)),)
            attempt = Attempt(run=run, base=1, call=CallName(str(i + 1)), number=1, spec=spec, args=args, kwargs={})
            call = call_of(attempt, sender, sent_us=clock.now_us(), version=spec.version)
            packets.append((address, Packet(call.id, encode(call), headers=headers_of(call))))
        await store.put_packets(packets, clock.now_us())
    return time.perf_counter() - began


async def _left(store: Store, most: int) -> tuple[int, float]:
    """Give how many can be taken, and when, once they are at most so many; 0 only when those that were taken are gone too."""
    spec, far_us = distant.spec, 1 << 62
    address = calls_address(spec.queue or "", spec.name, spec.version)
    while (count := await store.count_packets(address, far_us)) > most:  # noqa: ASYNC110 - the worker is another process.
        await asyncio.sleep(_LOOK_S)
    return count, time.perf_counter()
