"""Erasing personal data: the key of a run goes, and with it all that was sealed with it; in this store, not in copies of it."""

from typing import Final

from perdure.model.personal import ERASED, PERSONAL, PERSONAL_KEYS, place_of
from perdure.ports.records import RecordChange, Records

PAGE: Final = 1_000


async def erase(records: Records, run: str) -> int:
    """No original of the run can be given back any more, and none is taken; gives how many there were. Safe to call again.

    Also for a run that has none: then none is ever taken.
    """
    await records.write([RecordChange(PERSONAL_KEYS, run, ERASED)])
    erased, after = 0, ""
    while page := await records.scan(PERSONAL, prefix=place_of(run, ""), after=after, limit=PAGE):
        after = page[-1].key
        # The id of another run may begin with this one and a slash.
        own = [record for record in page if record.key.rpartition("/")[0] == run]
        await records.write([RecordChange(PERSONAL, record.key, None) for record in own])
        erased += len(own)
    return erased
