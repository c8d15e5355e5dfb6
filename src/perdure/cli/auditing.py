"""``perdure audit``: what is wrong in a store."""

from typing import Annotated

from cyclopts import Parameter

from perdure import Engine
from perdure.cli.connection import Place, ask
from perdure.cli.exits import Exit
from perdure.cli.values import as_json
from perdure.cli.wording import plural
from perdure.insight import Audit

_PLACE = Place()


def audit(
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print each fault as a JSON object on a line.")] = False,
    place: Place = _PLACE,
) -> Exit:
    """Look at every run for what cannot be: gaps in journals, two outcomes of a call, open runs that nothing moves, lost values.

    Nodes may be live. Exit code 0 if nothing was found, 1 otherwise.
    """

    async def work(engine: Engine) -> tuple[int, int]:
        auditing, count = Audit(engine.store), 0
        async for fault in auditing.faults():
            count += 1
            print(as_json(fault) if json else f"{fault.run}: {fault.rule.value}: {fault.text}")
        return auditing.runs, count

    runs, faults = ask(place, work)
    if not json:
        print(f"{plural(runs, 'run')} audited: {plural(faults, 'fault') if faults else 'nothing found'}.")
    return Exit.FAILED if faults else Exit.OK
