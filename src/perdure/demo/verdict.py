"""The comparison at the end: what must hold, what was found, and the numbers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from perdure.demo.progress import Progress, calls_of
from perdure.demo.screen import Row
from perdure.demo.server import PictureServer
from perdure.model.ids import split_call_key

UNINTERRUPTED, INTERRUPTED = "uninterrupted", "interrupted"


class Evidence(Struct, frozen=True):
    """What is there to judge. ``results``: what each run returned, by its title, uninterrupted and interrupted."""

    folder: Path
    board: Sequence[Progress]
    server: PictureServer
    results: Sequence[tuple[str, Sequence[str], Sequence[str]]]
    kills: int
    seconds: float
    store: Path


def faults(evidence: Evidence) -> Iterator[str]:
    """Give everything that is not as it must be."""
    if not evidence.kills:
        yield "the engine was never killed: the runs were over before their time had come"
    for title, expected, found in evidence.results:
        if [_name(url) for url in expected] != [_name(url) for url in found]:
            yield f"{title}: the result differs from that of the uninterrupted run"
    yield from _differing_files(evidence.folder / UNINTERRUPTED, evidence.folder / INTERRUPTED)
    recomputed = sum(call.was_recomputed for call in calls_of(evidence.board))
    if recomputed:
        yield f"{recomputed} calls were attempted although their outcome had been recorded"
    if evidence.server.conflicts:
        yield f"{len(evidence.server.conflicts)} idempotency keys came twice with different content"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _differing_files(expected: Path, found: Path) -> Iterator[str]:
    for path in sorted(_files(expected) | _files(found)):
        if not (expected / path).is_file() or not (found / path).is_file():
            yield f"{path} exists in only one of the two albums"
        elif (expected / path).read_bytes() != (found / path).read_bytes():
            yield f"{path} differs between the two albums"


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def numbers(evidence: Evidence) -> list[Row]:
    """Give the rows of the closing table."""
    calls = calls_of(evidence.board)
    last = max(progress.life for progress in evidence.board)
    kept = sum(call.recorded is not None and call.recorded < last for call in calls)
    again = sum(call.was_made_again for call in calls)
    recomputed = sum(call.was_recomputed for call in calls)
    files = _files(evidence.folder / INTERRUPTED)
    uploads = _uploads(evidence)
    return [
        ("kills", f"{evidence.kills} × SIGKILL"),
        ("calls", f"{len(calls)} in {len(evidence.board)} runs"),
        ("kept", f"{kept} had an outcome when the engine was killed; {recomputed} of them were made again"),
        ("made again", f"{again} were under way when the engine was killed, and their outcome unknown"),
        (
            "uploads",
            f"{sum(uploads)} requests with {len(uploads)} keys; {sum(uploads) - len(uploads)} repetitions, recognised by their key",
        ),
        ("compared", f"{len(files)} files, byte for byte, with an uninterrupted run"),
        ("source image", _stored_once(evidence)),
        ("time", f"{evidence.seconds:.1f} s"),
    ]


def _uploads(evidence: Evidence) -> list[int]:
    """Give how often each upload of the runs that were killed was asked for."""
    runs = {progress.run.id for progress in evidence.board}
    found = ((split_call_key(key), count) for key, count in evidence.server.uploads.items())
    return [count for parts, count in found if parts is not None and parts[0] in runs]


def _stored_once(evidence: Evidence) -> str:
    largest = max(evidence.board, key=lambda progress: len(progress.sizes))
    crops = [call for call in largest.calls.values() if call.action == "crop"]
    blobs = {call.blob for call in crops}
    store = _megabytes(evidence.store.stat().st_size)
    if "" in blobs:
        return f"small enough to lie in the journal; the SQLite file has {store}"
    whole = _megabytes(sum(call.blob_bytes for call in crops))
    times = "once" if len(blobs) == 1 else f"{len(blobs)} times"
    return f"given to {len(crops)} calls ({whole} in all), stored {times}: the SQLite file has {store}"


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
