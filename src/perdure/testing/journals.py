"""Journals of real runs as files, replayed against the code of today: beside the tests, a change that breaks runs fails in CI.

A file is one JSON object: the run's row, the journal rows of its present incarnation with their facts as JSON, and what lies beside them in
base64. Values stay as the store has them: what a codec encrypted is encrypted in the file, too, and `replay` needs the codec.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from perdure.app import Engine
from perdure.client.run import Run
from perdure.deciders.code.authoring import HasRun, Workflow
from perdure.deciders.decider import Tools
from perdure.engine.runs.live import LiveRun, Phase
from perdure.engine.runs.loader import Journal, Loader
from perdure.model.call import ActionSpec
from perdure.model.codec import Codec, Serializer
from perdure.model.errors import CorruptJournal, InvalidOption, RunNotFound
from perdure.model.ids import RunId
from perdure.model.limits import Limits
from perdure.model.run import RunRow, Transition
from perdure.ports.store import Loaded
from perdure.stores.memory import MemoryStore

FORMAT = 1


class _Row(Struct, omit_defaults=True):
    number: int
    at_us: int
    facts: list[Any]
    data: str | None = None


class _File(Struct, omit_defaults=True):
    perdure_journal: int
    run: RunRow
    rows: list[_Row]
    blobs: dict[str, str] = {}


async def export(engine: Engine, run: Run[Any] | str, file: str | Path) -> Path:
    """The run's journal is in ``file``, as readable JSON; gives its path. The run may be open or have ended. Raises `RunNotFound`."""
    id = RunId(run if isinstance(run, str) else run.id)
    loaded = await engine.store.load([id])
    if not loaded:
        raise RunNotFound(run=id)
    blobs = await engine.store.blobs(Journal(loaded[0]).blobs)
    content = _File(
        FORMAT,
        loaded[0].row,
        [_Row(row.number, row.at_us, msgspec.json.decode(row.facts), _text(row.data)) for row in loaded[0].transitions],
        {digest: b64encode(data).decode() for digest, data in sorted(blobs.items())},
    )
    path = Path(file)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    return path


def replay(workflow: Workflow[..., Any] | type[HasRun[..., Any]], file: str | Path, *, codecs: Sequence[Codec] = ()) -> int:
    """The code of today does what the journal says was done; gives the number of journal rows.

    Nothing is run but the workflow's own code: no action, no store. Raises `ReplayMismatch` where the code disagrees, showing both sides,
    `CorruptJournal` for a file that is none, and whatever else would stall the run (`ForbiddenInWorkflow`, a result of another type).
    """
    loaded, blobs = _read(Path(file))
    definition = _Only(workflow, loaded.row.definition)
    limits = Limits()
    loader = Loader(MemoryStore(), definition, Tools(Serializer(codecs, (), limits.payload_bytes_max), limits))
    run = LiveRun(loaded.row, Phase.LOADING)
    try:
        loader.restore(run, Journal(loaded), blobs)
    finally:
        run.drop_mind()
    return len(loaded.transitions)


class _Only:
    """One definition, whatever version is asked: the question is whether this code can go on with that run."""

    def __init__(self, workflow: Any, recorded: str) -> None:
        self._definition = workflow.definition
        if self._definition.name != recorded:
            raise InvalidOption(option="the workflow to replay", found=self._definition.name, expected=f"{recorded}, as in the file")

    def definition(self, name: str, version: int | None = None) -> Any:
        return self._definition

    def action(self, name: str) -> ActionSpec | None:
        return None

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


def _read(path: Path) -> tuple[Loaded, dict[str, bytes]]:
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptJournal(what=f"{path.name} is no exported journal: {error}") from error
    if content.perdure_journal != FORMAT:
        raise CorruptJournal(what=f"{path.name} has format {content.perdure_journal}; this version reads {FORMAT}")
    rows = [Transition(content.run.id, row.number, row.at_us, msgspec.json.encode(row.facts), _bytes(row.data)) for row in content.rows]
    return Loaded(content.run, rows, [], []), {digest: b64decode(data) for digest, data in content.blobs.items()}


def _text(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _bytes(data: str | None) -> bytes | None:
    return None if data is None else b64decode(data)
