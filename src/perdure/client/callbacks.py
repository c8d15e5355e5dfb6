"""Answers of outside services that were given a URL to call back. Protects a run from an answer that comes twice, early, or late (F15).

Whoever makes a callback writes a record of the kind `CALLBACKS` under the hash of its token.
The answer is a signal to the run, so one that comes before anybody waits is kept, as any early signal is.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from perdure.client.run import Run
from perdure.model.callback import CALLBACKS, CallbackRecord, callback_key
from perdure.model.errors import RunEnded, RunNotFound, SignalConflict, Unsupported
from perdure.ports.records import Records
from perdure.wire.forms import check_value

__all__ = ["ANSWER", "CALLBACKS", "CallbackRecord", "answer_callback", "callback_key"]

ANSWER: Final = "callback"
"""The id of the signal that an answer is: with one id it takes effect once."""


async def answer_callback(records: Records, get: Callable[[str], Run[Any]], token: str, value: Any) -> bool:
    """The run has the answer, or had one before; ``False`` for a token that nobody gave out. ``get`` gives the handle of a run.

    The first answer stands; another one, or one for a run that has ended, changes nothing. Raises `FormRefused` for one that is not of the
    declared type: it does not count.
    """
    key = callback_key(token)
    found = (await records.read(CALLBACKS, [key])).get(key)
    if found is None:
        return False
    record = msgspec.json.decode(found.value, type=CallbackRecord)
    _check(record, value)
    try:
        await get(record.run).send(record.channel, value, id=f"{ANSWER} {record.channel}")
    except (SignalConflict, RunEnded, RunNotFound):
        return True
    return True


def _check(record: CallbackRecord, value: Any) -> None:
    if record.schema is None:
        return
    try:
        check_value("the answer", record.schema, value)
    except Unsupported:
        return  # Without the extra ``schema`` the run itself finds out.
