"""``perdure export`` and ``perdure import``: runs from store to store, as a file of JSON lines."""

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import Parameter

from perdure import Engine
from perdure.cli.connection import Place, ask, run_loop
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.wording import plural
from perdure.control import Export, Import
from perdure.model.run import Status
from perdure.ports.system import SystemClock

_PLACE = Place()
# A file may be called -, which is no option.
_File = Annotated[str, Parameter(allow_leading_hyphen=True)]


def export(
    file: _File,
    /,
    *,
    status: Annotated[Status | None, Parameter(help="Only runs of this status.")] = None,
    definition: Annotated[str | None, Parameter(help="Only runs of this workflow.")] = None,
    open: Annotated[bool, Parameter(negative="", show_default=False, help="Open runs too; no node may be live.")] = False,
    place: Place = _PLACE,
) -> None:
    """Write runs to a file (- for the standard output) as JSON lines. They stay where they are.

    Ended runs only, unless --open. The copy of an open run goes on wherever it is served: serve one of the two stores, not both.

    Parameters
    ----------
    file
        The file to write, or - for the standard output.
    """

    async def work(engine: Engine) -> Export:
        found = Export(engine.store, SystemClock(), status=status, definition=definition, has_open=open)
        with _target(file) as stream:
            async for line in found.lines():
                stream.write(line)
        return found

    done = ask(place, work)
    _say(f"{plural(done.runs, 'run')} and {plural(done.blobs, 'blob')} were written.")
    if done.open_runs:
        _say(f"{plural(done.open_runs, 'run')} of them {'is' if done.open_runs == 1 else 'are'} open: never serve both stores.")
    if done.left_out:
        _say(f"{plural(done.left_out, 'open run')} left out; stop the nodes and use --open to export open runs too.")


def import_runs(file: _File, /, *, place: Place = _PLACE) -> None:
    """Take the runs of a file (- for the standard input) into a store, which is made if it is not there.

    Runs that are there already are left as they are, so that the same file can be imported again.

    Parameters
    ----------
    file
        The file that perdure export wrote, or - for the standard input.
    """

    async def work() -> Import:
        async with Engine(place.url, namespace=place.namespace, is_client=True) as engine:
            taking = Import(engine.store, SystemClock())
            with _source(file) as stream:
                await taking.read(_lines(stream))
            return taking

    done = run_loop(work)
    _say(f"{plural(done.imported, 'run')} imported, {done.open_runs} of them open; {done.skipped} were there already.")
    if done.downgraded:
        _say(f"{plural(done.downgraded, 'run')} asked for a durability that this store cannot give, and got the store's own.")
    if done.is_beside_node and done.open_runs:
        _say("A node was live meanwhile: a signal that an imported run sent to one that was not there yet is lost.")


@contextlib.contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdout.buffer
        return
    try:
        with Path(file).open("wb") as stream:
            yield stream
    except OSError as error:
        raise CommandEnds(Exit.USAGE, f"perdure export: {file} cannot be written: {error}") from error


@contextlib.contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    if not Path(file).is_file():
        raise CommandEnds(Exit.NOT_FOUND, f"perdure import: there is no file {file}")
    with Path(file).open("rb") as stream:
        yield stream


async def _lines(stream: BinaryIO) -> AsyncIterator[bytes]:
    for line in stream:
        yield line


def _say(text: str) -> None:
    print(text, file=sys.stderr)
