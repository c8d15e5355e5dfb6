"""The way to a node in another process: through the inboxes and replies of the store they share."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.client.gateway import Last, StartRequest
from perdure.client.hearing import Hearing
from perdure.client.poster import Poster
from perdure.deciders.decider import BranchPlace
from perdure.engine.callers.admission import Admission
from perdure.engine.runs.ended import asked_of, knows_signal, recall
from perdure.engine.runs.reopening import Asked
from perdure.engine.sharing.share import slice_of
from perdure.model import fact as facts
from perdure.model.duration import MICROSECONDS, span_text
from perdure.model.errors import AnswerOverdue, RunEnded, RunNotFound
from perdure.model.failure import exception_of
from perdure.model.ids import CallName, RunId, reply_id, signal_message, update_message
from perdure.model.limits import Limits
from perdure.model.message import (
    AnyMessage,
    AskQuery,
    GiveOutcome,
    RecordFact,
    RequestCancel,
    RequestResume,
    RequestRetry,
    RequestUpdate,
    SendSignal,
    decode_answer,
    encode_message,
)
from perdure.model.payload import Attachments, Content, Payload, content_of
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Failed, Signalled, Succeeded, Updated
from perdure.ports.clock import Clock, Entropy
from perdure.ports.store import Batch, InboxItem, Store, start_id

POLL_FIRST_S = 0.005
POLL_MAX_S = 0.25
"""The longest pause where nobody is heard; a store that many share is asked as rarely as an idle node asks it."""


class RemoteGateway:
    """``patience_us``: how long an answer is waited for before `AnswerOverdue`."""

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, *, limits: Limits, patience_us: int) -> None:
        self.store = store
        self._clock = clock
        self._entropy = entropy
        self._inline_max = limits.payload_inline_max
        self._patience_us = patience_us
        self._hearing = Hearing(store)
        self._poster = Poster(store, Admission(limits, clock))

    async def start(self, request: StartRequest) -> RunRow | None:
        return (await self._poster.commit(self.start_batch(request), f"the start of {request.row.definition!r}")).get(request.row.id)

    def start_batch(self, request: StartRequest) -> Batch:
        """Give the batch that starts the run: its row, and its start in its inbox."""
        row, begun = request.row, request.begun

        def message(attachments: Attachments) -> AnyMessage:
            args = tuple(attachments.place(content) for content in begun.args)
            kwargs = {name: attachments.place(content) for name, content in begun.kwargs.items()}
            return RecordFact(facts.RunStarted(row.definition, args, kwargs, row.version, begun.seed, end_us=begun.end_us))

        row.partition = slice_of(row.id, list(range(self.store.traits.partitions)))
        batch, _ = self._posting(row.id, start_id(row.id), message)
        batch.durability = row.durability
        batch.starts.append(row)
        if request.replaces:
            batch.replaced.add(row.id)
        if request.is_checked:
            batch.checked.add(row.id)
        return batch

    def _posting(self, run: RunId, id: str, make: Callable[[Attachments], AnyMessage]) -> tuple[Batch, InboxItem]:
        attachments = Attachments(self._inline_max)
        body = encode_message(make(attachments))
        data = None if attachments.data is None else bytes(attachments.data)
        item = InboxItem(run, id, self._clock.now_us(), body, data)
        return Batch(posts=[item], blobs=attachments.blobs or {}), item

    async def _post(self, run: RunId, id: str, make: Callable[[Attachments], AnyMessage], asked: str) -> None:
        row = await self._row(run)
        if row.status.is_final:
            raise RunEnded(run=run, status=row.status, asked=asked)
        batch = self._posting(run, id, make)[0]
        # What a run was told is as safe as the run: a signal that was acknowledged is not lost where its start is not (G2).
        batch.durability = row.durability
        await self._poster.commit(batch, asked)

    async def _pause(self, id: str, pause_s: float) -> float:
        """That span is over, or word of the run or reply has come; gives the next span."""
        await self._hearing.wait(id, pause_s)
        return min(2 * pause_s, max(POLL_MAX_S, self.store.traits.poll_idle_us / MICROSECONDS))

    async def _row(self, run: RunId) -> RunRow:
        row = await self.store.row(run)
        if row is None:
            raise RunNotFound(run=run)
        return row

    async def _answer(self, run: RunId, message: str, asked: str) -> Content | None:
        id = reply_id(run, message)
        end_us, pause = self._clock.now_us() + self._patience_us, POLL_FIRST_S
        while (reply := await self.store.reply(id)) is None:
            if self._clock.now_us() > end_us:
                raise AnswerOverdue(asked=asked, span=span_text(self._patience_us))
            pause = await self._pause(id, pause)
        answer = decode_answer(reply.body)
        if answer.error is not None:
            raise exception_of(answer.error)
        if answer.value is None:
            return None
        blobs = await self.store.blobs([answer.value.blob]) if answer.value.blob else {}
        return content_of(answer.value, reply.data, blobs)

    async def signal(self, run: RunId, signal: Signalled) -> None:
        def message(attachments: Attachments) -> AnyMessage:
            return SendSignal(signal.channel, attachments.place(signal.content), signal.is_named, signal.digest, signal.id)

        try:
            await self._post(run, signal_message(signal.id), message, asked_of(signal))
        except RunEnded:
            await recall(self.store, await self._row(run), signal)
        else:
            # No node is waited for: what was sent under this id before lies in the inbox still, or is in the journal already.
            if signal.is_named:
                await knows_signal(self.store, run, signal)

    async def update(self, run: RunId, update: Updated) -> Content:
        asked = asked_of(update)

        def message(attachments: Attachments) -> AnyMessage:
            args, kwargs = _placed(update.args, update.kwargs, attachments)
            return RequestUpdate(update.method, args, kwargs, update.is_named, update.digest, update.id)

        id = update_message(update.id, update.digest)
        try:
            await self._post(run, id, message, asked)
        except RunEnded:
            answer = await recall(self.store, await self._row(run), update)
        else:
            answer = await self._answer(run, id, asked)
        return answer if answer is not None else Content("json", b"null")

    async def query(self, run: RunId, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        id, asked = self._entropy.token(), f"the query {method!r}"
        await self._post(run, id, lambda attachments: AskQuery(method, *_placed(args, kwargs, attachments)), asked)
        answer = await self._answer(run, id, asked)
        return answer if answer is not None else Content("json", b"null")

    async def cancel(self, run: RunId, reason: str) -> bool:
        try:
            await self._post(run, f"{run}#cancel", lambda _: RequestCancel(reason), "the cancel")
        except RunEnded:
            return False
        return True

    async def resume(self, run: RunId) -> Status | None:
        id = self._entropy.token()
        await self._post(run, id, lambda _: RequestResume(), "the resume")
        await self._answer(run, id, f"the resume of {run!r}")
        row = await self.store.row(run)
        return None if row is None else row.status

    async def retry(self, run: RunId, asked: Asked) -> list[CallName]:
        id = self._entropy.token()

        def message(attachments: Attachments) -> AnyMessage:
            args, kwargs = _placed(asked.args or (), asked.kwargs, attachments)
            return RequestRetry(asked.call, asked.action, args, kwargs, has_input=asked.args is not None)

        # Not refused here if the run has ended: to go on with one that has failed is what it is for.
        if await self.store.row(run) is None:
            raise RunNotFound(run=run)
        await self._poster.commit(self._posting(run, id, message)[0], f"the retry of {run!r}")
        answer = await self._answer(run, id, f"the retry of {run!r}")
        return [] if answer is None else msgspec.json.decode(answer.data, type=list[CallName])

    async def give_outcome(self, run: RunId, base: int, outcome: Succeeded | Failed) -> None:
        id = self._entropy.token()

        def message(attachments: Attachments) -> AnyMessage:
            if isinstance(outcome, Succeeded):
                return GiveOutcome(base, outcome.call, value=attachments.place(outcome.content))
            return GiveOutcome(base, outcome.call, error=outcome.failure)

        await self._post(run, id, message, f"the outcome of call {outcome.call!r}")
        await self._answer(run, id, "the outcome of an open call")

    async def end_of(self, run: RunId) -> Last | None:
        pause = POLL_FIRST_S
        while True:
            row = await self.store.row(run)
            if row is None:
                raise RunNotFound(run=run)
            if row.status.is_final:
                return None
            pause = await self._pause(run, pause)

    async def change_of(self, run: RunId) -> Any:
        await asyncio.sleep(POLL_MAX_S)

    async def places(self, run: RunId) -> list[BranchPlace]:
        return []


def _placed(
    args: Sequence[Content], kwargs: dict[str, Content], attachments: Attachments
) -> tuple[tuple[Payload, ...], dict[str, Payload]]:
    return tuple(attachments.place(entry) for entry in args), {name: attachments.place(entry) for name, entry in kwargs.items()}
