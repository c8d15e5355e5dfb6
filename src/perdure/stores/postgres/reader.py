"""Reads: one statement, one round trip, one state of the database each."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from perdure.model.errors import CorruptJournal
from perdure.model.ids import RunId
from perdure.model.run import RunRow, Transition
from perdure.ports.store import Heartbeat, InboxItem, Loaded, NodeSeat, Reply, RunQuery, Survey
from perdure.stores.postgres.link import Link

_decode = msgspec.json.Decoder(RunRow).decode
_RUNS_PER_STATEMENT: Final = 1_000
_ROW, _JOURNAL, _INBOX, _HEARTBEAT = range(4)


def unpack_run(found: Sequence[Any]) -> RunRow:
    """Give the row that the view ``run_packed`` holds as (JSON, reason, state)."""
    packed, reason, state = found
    try:
        row = _decode(packed)
        row.reason = None if reason is None else reason.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptJournal(what=f"{error}, in the row {packed!r}") from error
    row.state = state
    return row


class Reader:
    """Reads on one connection."""

    def __init__(self, link: Link, statements: dict[str, str], schema: str) -> None:
        self._link = link
        self._schema = schema
        self._statements = statements

    async def _fetch(self, name: str, *arguments: Any) -> list[Any]:
        return await self._link.fetch(self._statements[name], *arguments, again=True)

    async def row(self, run: RunId) -> RunRow | None:
        found = await self._fetch("read_run", run)
        return unpack_run(found[0]) if found else None

    async def find(self, query: RunQuery) -> list[RunRow]:
        conditions, values = _conditions(query)
        sql = self._statements["find_runs"].replace("{conditions}", conditions.replace("{schema}", self._schema))
        sql = sql.replace("{direction}", "asc" if query.is_oldest_first else "desc")
        return [unpack_run(found) for found in await self._link.fetch(sql, query.limit, *values, again=True)]

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return [Transition(*found) for found in await self._fetch("read_transitions", run, after, limit)]

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None) -> list[Loaded]:
        unique = list(dict.fromkeys(runs))
        partitions = None if within is None else list(within)
        loaded: list[Loaded] = []
        for at in range(0, len(unique), _RUNS_PER_STATEMENT):
            loaded += _assembled(await self._fetch("load_runs", unique[at : at + _RUNS_PER_STATEMENT], partitions))
        return loaded

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        found = _assembled(await self._fetch("read_mentions", run, text))
        return found[0] if found else None

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        return dict(await self._fetch("read_blobs", list(hashes)))

    async def reply(self, id: str) -> Reply | None:
        found = await self._fetch("read_reply", id)
        return Reply(*found[0]) if found else None

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        return [found[0] for found in await self._fetch("list_held", list(partitions))]

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        return [found[0] for found in await self._fetch("list_due", list(partitions), now_us, limit)]

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        wake_us: int | None = (await self._fetch("read_next_wake", list(partitions)))[0][0]
        return wake_us

    async def survey(self) -> Survey:
        found = (await self._fetch("read_survey"))[0]
        seats = zip(found["epochs"] or (), found["names"] or (), found["untils"] or (), strict=True)
        return Survey([NodeSeat(*seat) for seat in seats], list(found["holders"] or ()), found["clock_us"])

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        return [InboxItem(*found) for found in await self._fetch("list_addressed", list(partitions), limit)]


def _conditions(query: RunQuery) -> tuple[str, list[Any]]:
    asked: list[tuple[str, tuple[Any, ...]]] = [
        ("status = {}", (query.status and query.status.value,)),
        ("definition = {}", (query.definition,)),
        ("parent = {}", (query.parent,)),
        ("id in (select t.run from {schema}.tag as t where t.tag = {})", (query.tag,)),
        ("(created_us, id) < ({}, {})", query.before or (None,)),
        ("(created_us, id) > ({}, {})", query.after or (None,)),
    ]
    texts: list[str] = []
    values: list[Any] = []
    for text, given in asked:
        if given[0] is not None:
            # $1 is the limit.
            numbers = [f"${at}" for at in range(len(values) + 2, len(values) + 2 + len(given))]
            texts.append(text.replace("{}", "%s") % tuple(numbers))
            values += given
    return (f"where {' and '.join(texts)}" if texts else ""), values


def _assembled(found: Sequence[Any]) -> list[Loaded]:
    rows: list[RunRow] = []
    parts: tuple[dict[str, list[Any]], ...] = (defaultdict(list), defaultdict(list), defaultdict(list), defaultdict(list))
    for part, run, number, at_us, name, body, data in found:
        match part:
            case 0:
                rows.append(unpack_run((run, body, data)))
            case 1:
                parts[_JOURNAL][run].append(Transition(run, number, at_us, body, data))
            case 2:
                parts[_INBOX][run].append((number, InboxItem(run, name, at_us, body, data)))
            case _:
                parts[_HEARTBEAT][run].append(Heartbeat(run, name, number, body, data))
    return [_loaded(row, parts) for row in rows]


def _loaded(row: RunRow, parts: Sequence[dict[str, list[Any]]]) -> Loaded:
    journal = sorted(parts[_JOURNAL].get(row.id, ()), key=lambda transition: transition.number)
    arrived = sorted(parts[_INBOX].get(row.id, ()), key=lambda item: item[0])
    return Loaded(row, journal, [item for _, item in arrived], parts[_HEARTBEAT].get(row.id, []))
