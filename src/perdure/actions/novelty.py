"""``new_data``: what was not seen before. Protects from passing a thing on twice, and from losing one when an attempt dies half-way.

Two ways to keep a set, and both are right when the same call is tried again:

* ``all``: a record for each thing ever seen, which holds the key of the call that saw it first. For that call it stays new.
* ``last``: one record with what the call before saw. What is new is written down under the call's key, in the same write that moves it on.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from perdure.actions.configured import Item, Items, Options, configurable, pass_on
from perdure.deciders.code.authoring import action
from perdure.model.errors import InvalidOption, StoreUnavailable, Unsupported
from perdure.model.retry import Retry
from perdure.ports.facilities import facilities, records_of
from perdure.ports.records import ABSENT, RecordChange, Records

SEEN: Final = "seen"
LAST: Final = "seen.last"
VERDICT: Final = "seen.verdict"
VERDICT_US: Final = 30 * 86_400 * 1_000_000
"""How long a call finds what it has found new, if it is tried again."""
TRIES_MAX: Final = 20
RETRY: Final = Retry(attempts=5, first="200ms", cap="10s", jitter=0.2, never=[Unsupported])
"""Tries while the store is away; to try again changes nothing."""


class NewData(Options, frozen=True, kw_only=True):
    """``set``: the name of the set. ``fields``: what of an item is compared, empty for all of it. ``mode``: compared with ``all`` that was
    ever seen, or with the ``last`` call's items; with ``_readonly`` nothing is added.
    """

    set: str
    mode: Literal["all", "last", "all_readonly", "last_readonly"] = "all"
    fields: list[str] = field(default_factory=list)

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("new_data")
        if not self.set or len(self.set) > 200:
            raise InvalidOption(option="new_data.set", found=repr(self.set), expected="a name of 1 to 200 characters")


@action(name="new_data", retry=RETRY)
async def perform_new_data(items: Items, *, config: NewData) -> Items:
    """Pass on the items that were not seen before, each once; what is seen from now on is durable.

    Exactly right if the same call is tried again: what it saw first is still new to it. Raises `Unsupported` where there is no store.
    """
    if not items:
        return pass_on([], config)
    sets = Sets(records_of("new_data"), config.set, key=facilities("new_data").key, now_us=facilities("new_data").now_us())
    marks: dict[str, Item] = {}
    for item in items:
        marks.setdefault(mark_of(item, config.fields), item)
    is_all, is_readonly = config.mode.startswith("all"), config.mode.endswith("_readonly")
    seen = sets.seen_ever if is_all else sets.seen_last
    add = sets.add_ever if is_all else sets.replace_last
    new = await (seen(list(marks)) if is_readonly else add(list(marks)))
    return pass_on([item for mark, item in marks.items() if mark in new], config)


def mark_of(item: Item, fields: Sequence[str]) -> str:
    """Give what tells an item from others: equal in these fields, equal mark. A field that is not there is not one that is null."""
    compared: Any = {name: item[name] for name in fields if name in item} if fields else item
    return sha256(msgspec.json.encode(compared, order="deterministic")).hexdigest()


class _Last(Struct, frozen=True):
    """What the call before saw."""

    marks: list[str]


class Sets:
    """One set, as one call sees it. ``key``: of the call."""

    def __init__(self, records: Records, name: str, *, key: str, now_us: int) -> None:
        self._records = records
        self._name = name
        self._key = key
        self._now_us = now_us

    async def add_ever(self, marks: Sequence[str]) -> set[str]:
        """All marks are in the set; gives those that were not, or that this very call has put there."""
        before = await self._records.add(SEEN, {self._place(mark): self._key.encode() for mark in marks})
        return {mark for mark in marks if before.get(self._place(mark), self._key.encode()) == self._key.encode()}

    async def seen_ever(self, marks: Sequence[str]) -> set[str]:
        """Give the marks that are not in the set."""
        known = await self._records.read(SEEN, [self._place(mark) for mark in marks])
        return {mark for mark in marks if self._place(mark) not in known}

    async def replace_last(self, marks: Sequence[str]) -> set[str]:
        """The set is these marks; gives those that were not in it before this call. Raises `StoreUnavailable` while others move it."""
        for _ in range(TRIES_MAX):
            verdict = (await self._records.read(VERDICT, [self._verdict])).get(self._verdict)
            if verdict is not None:
                return set(msgspec.json.decode(verdict.value, type=list[str]))
            version, last = await self._last()
            new = [mark for mark in marks if mark not in last]
            changes = [
                RecordChange(LAST, self._name, msgspec.json.encode(_Last(list(marks))), expected=version),
                RecordChange(VERDICT, self._verdict, msgspec.json.encode(new), expected=ABSENT, expires_us=self._now_us + VERDICT_US),
            ]
            if not await self._records.write(changes):
                return set(new)
        raise StoreUnavailable(store=f"the set {self._name!r}", problem="other calls change it all the time")

    async def seen_last(self, marks: Sequence[str]) -> set[str]:
        """Give the marks that are not in the set."""
        _, last = await self._last()
        return {mark for mark in marks if mark not in last}

    async def _last(self) -> tuple[int, set[str]]:
        found = (await self._records.read(LAST, [self._name])).get(self._name)
        return (ABSENT, set()) if found is None else (found.version, set(msgspec.json.decode(found.value, type=_Last).marks))

    def _place(self, mark: str) -> str:
        return f"{self._name}/{mark}"

    @property
    def _verdict(self) -> str:
        return f"{self._name}/{self._key}"


new_data = configurable(perform_new_data, NewData)
