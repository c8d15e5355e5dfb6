"""Promises of `perdure.ports.records`: small things that are kept beside runs, each with a version."""

import asyncio
import random

from perdure.model.errors import Unsupported
from perdure.ports.records import ABSENT, ANY, RecordChange
from perdure.ports.store import Store
from perdure.testing.conformance.harness import StoreHarness, promise

_ALL_BYTES = bytes(range(256))


async def keep(store: Store, *keys: str, kind: str = "k", expires_us: int | None = None) -> None:
    changes = [RecordChange(kind, key, key.encode(), expires_us=expires_us) for key in keys]
    assert await store.write(changes) == []


async def keys_of(store: Store, kind: str = "k", *, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
    return [record.key for record in await store.scan(kind, prefix=prefix, after=after, limit=limit)]


class RecordPromises(StoreHarness):
    @promise
    async def test_what_was_written_is_read_and_of_what_is_not_there_nothing(self, store: Store) -> None:
        assert (
            await store.write([RecordChange("k", "a", b"1", expires_us=7), RecordChange("k", "b", b""), RecordChange("l", "a", b"2")]) == []
        )
        found = await store.read("k", ["b", "a", "c", "a"])
        assert {key: (record.kind, record.key, record.value, record.expires_us) for key, record in found.items()} == {
            "a": ("k", "a", b"1", 7),
            "b": ("k", "b", b"", None),
        }
        assert all(record.version >= 1 for record in found.values())
        assert [record.value for record in (await store.read("l", ["a"])).values()] == [b"2"]
        assert (await store.read("k", []), await store.read("m", ["a"]), await store.write([])) == ({}, {}, [])

    @promise
    async def test_records_are_there_for_every_handle(self, store: Store) -> None:
        await keep(store, "a")
        async with self.another(store) as other:
            assert (await other.read("k", ["a"]))["a"].value == b"a"
            await other.write([RecordChange("k", "a", b"other")])
        assert (await store.read("k", ["a"]))["a"].value == b"other"

    @promise
    async def test_a_write_that_expected_what_is_there_gives_a_higher_version(self, store: Store) -> None:
        versions = [0]
        for value in (b"1", b"2", b"2", b"3"):
            assert await store.write([RecordChange("k", "a", value, versions[-1])]) == []
            versions.append((await store.read("k", ["a"]))["a"].version)
        assert versions == sorted(set(versions))

    @promise
    async def test_a_write_that_expected_another_version_changes_nothing_and_names_its_keys(self, store: Store) -> None:
        await keep(store, "a", "b")
        first = await store.read("k", ["a", "b"])
        await keep(store, "a")
        changes = [
            RecordChange("k", "new", b"new"),
            RecordChange("k", "b", None, first["b"].version),
            RecordChange("k", "a", b"late", first["a"].version),
            RecordChange("k", "gone", b"x", 5),
            RecordChange("k", "b2", b"x", ABSENT),
        ]
        assert await store.write(changes) == ["a", "gone"]
        assert await store.write([RecordChange("k", "b", b"x", ABSENT)]) == ["b"]
        assert await store.write([RecordChange("k", "gone", None, 5)]) == ["gone"]
        assert await keys_of(store) == ["a", "b"]
        assert (await store.read("k", ["b"])) == {"b": first["b"]}

    @promise
    async def test_a_deleted_record_is_gone_and_no_version_comes_again(self, store: Store) -> None:
        seen = set()
        for _ in range(3):
            await keep(store, "a")
            version = (await store.read("k", ["a"]))["a"].version
            assert version not in seen
            seen.add(version)
            assert await store.write([RecordChange("k", "a", None, version)]) == []
            assert await store.read("k", ["a"]) == {}
        assert await store.write([RecordChange("k", "a", None, ABSENT), RecordChange("k", "b", None, ANY)]) == []
        assert await store.write([RecordChange("k", "a", b"x", max(seen))]) == ["a"]

    @promise
    async def test_of_writers_that_read_the_same_version_one_writes(self, store: Store) -> None:
        await keep(store, "count", kind="counter")
        await store.write([RecordChange("counter", "count", b"0")])
        async with self.another(store) as other:
            done = await asyncio.gather(*(_count_up(handle, times=10) for handle in (store, other, store, other)))
        assert sum(done) == 40
        assert (await store.read("counter", ["count"]))["count"].value == b"40"

    @promise
    async def test_of_writers_that_found_nothing_one_writes(self, store: Store) -> None:
        async with self.another(store) as other:
            for number in range(20):
                claims = (handle.write([RecordChange("k", str(number), name, ABSENT)]) for handle, name in ((store, b"1"), (other, b"2")))
                assert sorted(await asyncio.gather(*claims)) == [[], [str(number)]]

    @promise
    async def test_writers_of_the_same_records_in_any_order_all_come_to_an_end(self, store: Store) -> None:
        names = [str(number) for number in range(30)]
        async with self.another(store) as other:
            orders = (names, names[::-1], names[7:] + names[:7])
            await asyncio.gather(*(keep(handle, *order) for _ in range(5) for handle in (store, other) for order in orders))
        assert await keys_of(store) == sorted(names)

    @promise
    async def test_a_scan_gives_keys_in_the_order_of_their_bytes_by_prefix_and_page(self, store: Store) -> None:
        names = [
            "a",
            "a%b",
            "a/",
            "a/1",
            "a/10",
            "a/2",
            "a_",
            "aZ",
            "b",
            "B",
            "ä",
            "é",
            "\ud7ff",
            "\ud7ffx",
            "\ue000",
            "😀",
            "\U0010ffff",
            "\U0010ffffz",
        ]
        await keep(store, *names)
        await keep(store, "a/3", kind="other")
        ordered = sorted(names, key=str.encode)
        assert await keys_of(store) == ordered
        for prefix in ("", "a", "a/", "a%", "ä", "\ud7ff", "\U0010ffff", "zz"):
            assert await keys_of(store, prefix=prefix) == [name for name in ordered if name.startswith(prefix)], prefix
        pages: list[str] = []
        after = ""
        while page := await keys_of(store, prefix="a", after=after, limit=3):
            pages, after = [*pages, *page], page[-1]
        assert pages == [name for name in ordered if name.startswith("a")]
        assert await keys_of(store, prefix="a/", after="a/1", limit=1) == ["a/10"]
        assert await keys_of(store, limit=0) == []

    @promise
    async def test_what_is_added_is_kept_once_and_what_was_there_before_is_told(self, store: Store) -> None:
        assert await store.add("seen", {"a": b"1", "b": b""}, expires_us=9) == {}
        before = await store.read("seen", ["a"])
        assert await store.add("seen", {"b": b"x", "a": b"2", "c": b"3"}) == {"a": b"1", "b": b""}
        assert await store.read("seen", ["a"]) == before
        assert {record.key: (record.value, record.expires_us) for record in await store.scan("seen")} == {
            "a": (b"1", 9),
            "b": (b"", 9),
            "c": (b"3", None),
        }
        assert await store.add("seen", {}) == {}

    @promise
    async def test_of_several_that_add_the_same_each_key_is_new_to_one(self, store: Store) -> None:
        async with self.another(store) as other:
            values = {str(number): b"x" for number in range(200)}
            backwards = dict(reversed(values.items()))
            found = await asyncio.gather(*(handle.add("seen", given) for handle in (store, other) for given in (values, backwards)))
        fresh = [key for before in found for key in values if key not in before]
        assert sorted(fresh) == sorted(values)

    @promise
    async def test_expired_records_are_read_until_they_are_deleted_in_bounded_batches(self, store: Store) -> None:
        await keep(store, *(f"old{number}" for number in range(5)), expires_us=100)
        await keep(store, "late", expires_us=101)
        await keep(store, "always")
        assert len(await store.scan("k")) == 7
        assert [await store.expire(100, 2) for _ in range(4)] == [2, 2, 1, 0]
        assert await keys_of(store) == ["always", "late"]
        await store.write([RecordChange("k", "late", b"", ANY, expires_us=500)])
        assert await store.expire(499, 10) == 0
        await keep(store, "late")
        assert await store.expire(1_000, 10) == 0, "written without an end, it has none"

    @promise
    async def test_values_come_back_as_they_went_in_and_keys_may_be_any_text(self, store: Store) -> None:
        samples = [b"", b"\x00", b"\x00\x00a", _ALL_BYTES, random.Random(3).randbytes(300_000), b"\xff\xfe"]
        names = ["ünï→😀", 'say "hi"', "back\\slash", "it's", "%s ?1 {source}", "a\nb\tc\x1f", "", " ", "k" * 1_000]
        for at, value in enumerate(samples):
            await store.write([RecordChange("bytes", str(at), value)])
        assert [record.value for record in await store.scan("bytes")] == samples
        for name in names:
            await store.write([RecordChange(name, name, name.encode())])
            assert {record.value for record in (await store.read(name, names)).values()} == {name.encode()}

    @promise
    async def test_a_name_that_cannot_be_stored_is_refused_and_nothing_is_written(self, store: Store) -> None:
        for name in ("a\x00b", "\ud800"):
            try:
                await store.write([RecordChange("k", "fine", b""), RecordChange("k", name, b"")])
            except Unsupported:
                assert await keys_of(store) == []
            else:
                assert list(await store.read("k", [name])) == [name]
                await store.write([RecordChange("k", "fine", None), RecordChange("k", name, None)])

    @promise
    async def test_thousands_are_written_and_read_at_once(self, store: Store) -> None:
        names = [f"r{number:05}" for number in range(5_000)]
        await keep(store, *names)
        assert await keys_of(store, limit=10_000) == names
        assert len(await store.read("k", names)) == 5_000
        assert await store.write([RecordChange("k", name, None) for name in names]) == []
        assert await keys_of(store) == []


async def _count_up(store: Store, *, times: int) -> int:
    """The record is raised so many times; gives how often."""
    done = 0
    while done < times:
        record = (await store.read("counter", ["count"]))["count"]
        higher = RecordChange("counter", "count", str(int(record.value) + 1).encode(), record.version)
        done += not await store.write([higher])
    return done
