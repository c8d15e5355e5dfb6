"""Records in memory: the readable reference of `perdure.ports.records`."""

from collections.abc import Collection, Sequence
from heapq import nsmallest

from perdure.ports.records import ABSENT, ANY, Record, RecordChange


class RecordTable:
    """Records by kind and key. One counter for all versions, so that none is given twice."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Record]] = {}
        self._last = 0

    def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        known = self._kinds.get(kind, {})
        return {key: known[key] for key in keys if key in known}

    def scan(self, kind: str, prefix: str, after: str, limit: int) -> list[Record]:
        known = self._kinds.get(kind, {})
        return [known[key] for key in nsmallest(limit, (key for key in known if key.startswith(prefix) and key > after))]

    def write(self, changes: Sequence[RecordChange]) -> list[str]:
        refused = [change.key for change in changes if change.expected not in (ANY, self._version(change.kind, change.key))]
        for change in () if refused else changes:
            self._apply(change)
        return refused

    def _version(self, kind: str, key: str) -> int:
        record = self._kinds.get(kind, {}).get(key)
        return ABSENT if record is None else record.version

    def _apply(self, change: RecordChange) -> None:
        if change.value is None:
            self._kinds.get(change.kind, {}).pop(change.key, None)
        else:
            self._last += 1
            record = Record(change.kind, change.key, change.value, self._last, change.expires_us)
            self._kinds.setdefault(change.kind, {})[change.key] = record

    def add(self, kind: str, values: dict[str, bytes], expires_us: int | None) -> dict[str, bytes]:
        before = {key: record.value for key, record in self.read(kind, values).items()}
        self.write([RecordChange(kind, key, value, ABSENT, expires_us) for key, value in values.items() if key not in before])
        return before

    def expire(self, now_us: int, limit: int) -> int:
        every = [record for known in self._kinds.values() for record in known.values()]
        old = [record for record in every if record.expires_us is not None and record.expires_us <= now_us][:limit]
        for record in old:
            del self._kinds[record.kind][record.key]
        return len(old)
