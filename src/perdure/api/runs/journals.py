"""Why a run waits, and what it has done, over HTTP."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from perdure import Engine, insight
from perdure.api.endpoint import Answer, Asked, Nothing
from perdure.api.runs.reads import Limit
from perdure.insight import AnyReason, Entry


class Reasons(Struct, kw_only=True):
    """What the run waits for; nothing if it has ended."""

    reasons: list[AnyReason]


class HistoryQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """``after``: the ``next`` of the page before. ``limit``: about so many facts; those of one transition stay together."""

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Limit = 500


class HistoryPage(Struct, kw_only=True):
    """``next``: what to give as ``after`` for what comes after this page; there may be nothing yet."""

    entries: list[dict[str, Any]]
    next: int


class RunJournals:
    """Endpoints that read the journal."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def why(self, asked: Asked[None, Nothing]) -> Answer:
        """Tell what the run waits for."""
        return Answer(body=Reasons(reasons=await self._engine.get(asked.path["run"]).why()))

    async def history(self, asked: Asked[None, HistoryQuery]) -> Answer:
        """Give the facts of the journal, oldest first."""
        run, query = self._engine.get(asked.path["run"]), asked.query
        await insight.row_of(self._engine.store, run.id)
        found: list[Entry] = []
        async for entry in insight.entries(self._engine.store, run.id, query.after):
            if len(found) >= query.limit and entry.number != found[-1].number:
                break
            found.append(entry)
        last = found[-1].number if found else query.after
        return Answer(body=HistoryPage(entries=[entry.as_json() for entry in found], next=last))
