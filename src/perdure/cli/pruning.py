"""``perdure prune``: deletes runs that ended long ago."""

from typing import Annotated

from cyclopts import Parameter

from perdure import Engine, Retention
from perdure.cli.connection import Place, ask
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.wording import plural
from perdure.control import count_outdated
from perdure.control import prune as prune_store
from perdure.model.run import Status
from perdure.ports.system import SystemClock

_PLACE = Place()


def prune(
    *,
    completed: Annotated[str | None, Parameter(help="Delete completed runs that ended longer ago, such as 30d.")] = None,
    failed: Annotated[str | None, Parameter(help="The same for failed runs.")] = None,
    cancelled: Annotated[str | None, Parameter(help="The same for cancelled runs.")] = None,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False, help="Only say how many there are.")] = False,
    place: Place = _PLACE,
) -> None:
    """Delete runs that ended long ago, with all that belongs to them. Open runs are never deleted."""
    if completed is failed is cancelled is None:
        raise CommandEnds(Exit.USAGE, "perdure prune: say what to delete, such as --completed 30d --failed 90d")
    retention = Retention(completed=completed, failed=failed, cancelled=cancelled)

    async def work(engine: Engine) -> dict[Status, int]:
        return await (count_outdated if dry_run else prune_store)(engine.store, SystemClock(), retention)

    for status, count in ask(place, work).items():
        print(f"{plural(count, f'{status.value} run')} {'would be ' if dry_run else ''}deleted")
