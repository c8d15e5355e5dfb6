"""Which actions were ever seen: what may be called by its name, also while nobody performs it."""

from collections.abc import AsyncIterator
from difflib import get_close_matches

from msgspec import json

from perdure.model.errors import ActionNotFound
from perdure.model.registry import ACTION_RECORDS, ActionRecord
from perdure.ports.records import Records

_KNOWN_SHOWN = 5


async def known_actions(records: Records) -> AsyncIterator[ActionRecord]:
    """Give every action that was ever seen, by name; one for each version and queue."""
    after = ""
    while batch := await records.scan(ACTION_RECORDS, after=after):
        for record in batch:
            yield json.decode(record.value, type=ActionRecord)
        after = batch[-1].key


async def find_actions(records: Records, name: str) -> list[ActionRecord]:
    """Give the versions and queues in which an action was ever seen, at least one; they may all be offline.

    Raises `ActionNotFound`, which names those whose names are like it.
    """
    seen = await records.scan(ACTION_RECORDS, prefix=f"{name}/")
    # The key of another action may begin so too: names may hold slashes.
    found = [action for record in seen if (action := json.decode(record.value, type=ActionRecord)).name == name]
    if found:
        return found
    known = {action.name async for action in known_actions(records)}
    near = get_close_matches(name, known, _KNOWN_SHOWN) or sorted(known)[:_KNOWN_SHOWN]
    raise ActionNotFound(name=name, where="", known=", ".join(near) or "none")
