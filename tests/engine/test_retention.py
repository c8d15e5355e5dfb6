"""What has ended is kept as long as was asked, and then goes by itself."""

import pytest

from perdure import Engine, Retention, action, signal, workflow
from perdure.engine import pruner
from perdure.model.errors import InvalidOption, RunNotFound
from perdure.model.limits import Limits
from perdure.model.run import Status
from perdure.ports.records import RecordChange
from perdure.ports.store import Batch, Reply, RunQuery
from perdure.ports.transport import DEAD, Packet
from perdure.stores.memory import MemoryStore
from perdure.testing.conformance.harness import start
from perdure.testing.env import Environment

go = signal("retention_go", int)


@action(name="retention_double")
async def double(value: int) -> int:
    return 2 * value


@workflow(name="retention_short")
async def short(value: int) -> int:
    if value < 0:
        raise ValueError("no")
    return await double(value)


@workflow(name="retention_open")
async def lasting() -> int:
    return await go.receive()


async def ids(env: Environment) -> set[str]:
    return {row.id for row in await env.store.find(RunQuery(limit=10_000))}


async def test_runs_go_when_they_were_kept_as_long_as_asked_and_open_ones_stay() -> None:
    async with Environment(retention=Retention(completed="1h", failed="1d")) as env:
        await env.run(short.options(id="done"), 1)
        with pytest.raises(ValueError, match="no"):
            await env.run(short.options(id="bad"), -1)
        await env.start(lasting.options(id="open"))
        await env.advance("59m")
        assert await ids(env) == {"done", "bad", "open"}
        await env.advance("3m")
        assert await ids(env) == {"bad", "open"}
        with pytest.raises(RunNotFound):
            await env.get("done").result()
        await env.advance("25h")
        assert await ids(env) == {"open"}
        await env.get("open").send(go, 3)
        await env.settle()
        assert await env.get("open").result() == 3
        assert await env.run(short.options(id="done"), 4) == 8, "the id is free again"


async def test_without_a_retention_runs_stay_and_only_old_replies_go() -> None:
    async with Environment() as env:
        await env.run(short.options(id="done"), 1)
        await env.store.commit(Batch(replies=[Reply("old", env.clock.now_us(), b"1")]))
        await env.advance("23h")
        assert await env.store.reply("old") is not None
        await env.advance("2h")
        assert (await env.store.reply("old"), await ids(env)) == (None, {"done"})


async def test_one_round_deletes_a_bounded_number_and_the_next_follows_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "RUNS_TOGETHER", 3)
    store = MemoryStore()
    await store.commit(Batch(starts=[start(str(n), status=Status.COMPLETED, wake_us=None) for n in range(8)]))
    async with Environment(store, retention=Retention(completed="1h")) as env:
        node = env.engine.node
        assert node is not None
        assert [await node.pruner.run_once() for _ in range(4)] == [3, 3, 2, 0]
        assert node.pruner.pruned == 8
        await store.commit(Batch(starts=[start(str(n), status=Status.COMPLETED, wake_us=None) for n in range(9)]))
        for _ in range(62):
            await env.advance("1s")
        assert await ids(env) == set()


@pytest.mark.parametrize(
    "retention", [Retention(completed="soon"), Retention(failed=float("nan")), Retention(letters="never"), Retention(replies="1s")]
)
def test_what_is_no_retention_is_refused(retention: Retention) -> None:
    with pytest.raises(InvalidOption):
        Engine("memory://", retention=retention)


async def test_expired_records_go_by_themselves_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "RECORDS_TOGETHER", 3)
    async with Environment() as env:
        soon, later = env.clock.now_us() + 3_600_000_000, env.clock.now_us() + 7_200_000_000
        await env.store.write([RecordChange("k", str(n), b"", expires_us=soon) for n in range(8)])
        await env.store.write([RecordChange("k", "later", b"", expires_us=later), RecordChange("k", "never", b"")])
        await env.advance("59m")
        assert len(await env.store.scan("k")) == 10
        await env.advance("3m")
        assert len(await env.store.scan("k")) == 7, "one round"
        for _ in range(3):
            await env.advance("1s")
        assert [record.key for record in await env.store.scan("k")] == ["later", "never"]
        await env.advance("2h")
        assert [record.key for record in await env.store.scan("k")] == ["never"]


async def dead(env: Environment) -> list[str]:
    return [packet.id for _, packet in await env.store.look_packets(DEAD, None, 10_000)]


async def bury(env: Environment, *ids: str) -> None:
    await env.store.put_packets([(DEAD, Packet(id, b"")) for id in ids], env.clock.now_us())


async def test_dead_letters_go_after_thirty_days_unless_told_otherwise() -> None:
    async with Environment() as env:
        await bury(env, "old")
        await env.store.put_packets([("perdure.calls.q.a.v1", Packet("call", b""))], env.clock.now_us())
        await env.advance("29d")
        await bury(env, "new")
        assert await dead(env) == ["old", "new"]
        await env.advance("25h")
        assert (await dead(env), await env.store.count_packets("perdure.calls.q.a.v1", env.clock.now_us())) == (["new"], 1)
    async with Environment(retention=Retention(letters=None)) as env:
        await bury(env, "old")
        await env.advance("400d")
        assert await dead(env) == ["old"]


async def test_of_too_many_dead_letters_the_oldest_go_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "LETTERS_TOGETHER", 3)
    async with Environment(limits=Limits(letters_max=2)) as env:
        for number in range(9):
            await bury(env, str(number))
            await env.advance("1us")
        await env.advance("1m")
        assert len(await dead(env)) == 6, "one round"
        for _ in range(3):
            await env.advance("1s")
        assert await dead(env) == ["7", "8"]
