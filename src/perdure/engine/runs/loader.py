"""Brings runs back from the store: journal to ledger, ledger and code to a mind. Protects from a bad journal hurting others (G6)."""

import asyncio
from collections.abc import Collection, Sequence

import msgspec

from perdure.deciders.decider import Definition, RecordedRow, Tools
from perdure.deciders.ledger import Ledger
from perdure.engine.calls.dispatcher import arguments_of
from perdure.engine.runs.ending import identity_of
from perdure.engine.runs.live import LiveRun
from perdure.engine.runs.record import ENGINE_FACTS, arguments_blobs, blobs_of, stimulus_of_fact
from perdure.model import command as commands
from perdure.model.errors import CorruptJournal
from perdure.model.fact import AnyFact, decode_facts, supersedes
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content, Payload, content_of
from perdure.model.run import Transition
from perdure.model.stimulus import Begun
from perdure.ports.definitions import Definitions
from perdure.ports.store import Loaded, Store


class Journal:
    """A journal read and folded, ready to be replayed."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.rows: list[tuple[Transition, list[AnyFact]]] = []
        self.ledger = Ledger()
        self.error: CorruptJournal | None = None
        self.blobs: set[str] = set()
        try:
            self._read()
        except CorruptJournal as error:
            self.error = error

    def _read(self) -> None:
        number = self.loaded.row.base
        standing: tuple[Transition, list[AnyFact]] | None = None
        for row in self.loaded.transitions:
            if row.number != number:
                raise CorruptJournal(what=f"run {row.run!r} has row {row.number} where row {number} should be")
            number += 1
            try:
                entries = decode_facts(row.facts)
            except CorruptJournal as error:
                raise CorruptJournal(what=f"run {row.run!r} row {row.number}: {error.what}") from error
            # A row is taken in when the next one is known: one that begins with RunReopened takes the place of the row before it.
            if standing is not None and not supersedes(entries):
                self._take(*standing)
            standing = (row, entries)
        if standing is not None:
            self._take(*standing)
        for call in self.ledger.calls.values():
            self.blobs |= arguments_blobs(call.fact)

    def _take(self, row: Transition, entries: list[AnyFact]) -> None:
        self.rows.append((row, entries))
        self.ledger.apply_all(entries, row.at_us, row.data)
        self.blobs |= blobs_of(entries)


class Loader:
    def __init__(self, store: Store, definitions: Definitions, tools: Tools) -> None:
        self._store = store
        self._definitions = definitions
        self._tools = tools

    async def read(self, runs: Sequence[RunId], partitions: Collection[int]) -> tuple[list[Journal], dict[str, bytes]]:
        """Give the journals of these runs and all blobs that their replay needs; of those in other partitions only the row counts."""
        journals = []
        for loaded in await self._store.load(runs, partitions):
            journals.append(Journal(loaded))
            await asyncio.sleep(0)
        wanted = {hash for journal in journals for hash in journal.blobs}
        return journals, (await self._store.blobs(wanted)) if wanted else {}

    def restore(self, run: LiveRun, journal: Journal, blobs: dict[str, bytes]) -> None:
        """The run can react again, exactly as before.

        Raises `DefinitionNotFound`, `ReplayMismatch`, `CorruptJournal`, or what the code raised.
        """
        run.row = journal.loaded.row
        run.number = run.row.base - 1
        if journal.loaded.transitions:
            # Not their count: where rows are missing, the next one must still get a number that is free.
            run.number, run.last_us = journal.loaded.transitions[-1].number, journal.loaded.transitions[-1].at_us
        run.ledger, run.journal_error = journal.ledger, journal.error
        if journal.error is not None:
            raise journal.error
        definition: Definition = self._definitions.definition(run.row.definition, run.row.version or None)
        run.row.version = definition.version
        run.decider = definition.decider(identity_of(run), self._tools)
        for row, entries in journal.rows:
            self._replay(run, row, entries, blobs)
        self._prepare_calls(run, blobs)

    def _replay(self, run: LiveRun, row: Transition, entries: Sequence[AnyFact], blobs: dict[str, bytes]) -> None:
        def content(payload: Payload) -> Content:
            return content_of(payload, row.data, blobs)

        stimuli, recorded = [], []
        for fact in entries:
            stimulus = stimulus_of_fact(fact, content)
            if stimulus is not None:
                stimuli.append(stimulus)
                if isinstance(stimulus, Begun):
                    run.answers.update({answer.id: answer for answer in stimulus.answered})
            elif not isinstance(fact, ENGINE_FACTS):
                recorded.append(fact)
        if not stimuli and not recorded:
            return
        assert run.decider is not None
        for command in run.decider.replay(RecordedRow(row.number, row.at_us, stimuli, recorded, content)):
            if type(command) is commands.RunAction:
                if command.call in run.ledger.calls:
                    run.specs[command.call] = command
                if command.call in run.ledger.failed:
                    run.failed_specs[command.call] = command.spec
            elif type(command) is commands.AnswerUpdate:
                run.answers[command.id] = command

    def _prepare_calls(self, run: LiveRun, blobs: dict[str, bytes]) -> None:
        """Open calls get their arguments and the last heartbeat of the attempt before."""
        for call, open_call in run.ledger.calls.items():
            if call in run.specs:
                args, kwargs = arguments_of(open_call, blobs)
                self._require_readable((*args, *kwargs.values()))
                run.specs[call] = msgspec.structs.replace(run.specs[call], args=args, kwargs=kwargs)
            if open_call.details is not None:
                run.details[call] = content_of(open_call.details, open_call.details_data, blobs)

    def _require_readable(self, contents: Sequence[Content]) -> None:
        """A missing key stalls the run; found out by the attempt itself, it would end the call with an error."""
        for content in contents:
            if "+" in content.codec:
                self._tools.serializer.plain(content, "an argument of an open call")


def heartbeat_contents(loaded: Loaded, ledger: Ledger) -> dict[CallName, Content]:
    """Give the last details that attempts of this run reported, by open call, where they are newer than what the journal has."""
    found: dict[CallName, Content] = {}
    for beat in loaded.heartbeats:
        payload = msgspec.json.decode(beat.body, type=Payload)
        open_call = ledger.calls.get(beat.call)
        if not payload.blob and open_call is not None and beat.attempt > open_call.failed:
            found[beat.call] = content_of(payload, beat.data, {})
    return found
