"""Commands that ask something of one run: result, send, update, query, cancel, resume, complete, fail."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from perdure import Engine, insight
from perdure.cli.connection import PatientPlace, Place, ask
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.values import keywords_of, print_value, value_of, values_of
from perdure.cli.waiting import tell_end, wait_for_end
from perdure.model.duration import MICROSECONDS, span_us
from perdure.model.errors import PerdureError
from perdure.model.failure import failure_of
from perdure.model.run import Status

T = TypeVar("T")

PATIENT = PatientPlace()
PLACE = Place()
Keyword = Annotated[list[str] | None, Parameter(name="--arg", negative="", help="An argument by name, name=value; may be repeated.")]
Output = Annotated[str | None, Parameter(help="Write the value to this file.")]


def result(
    id: str,
    /,
    *,
    timeout: Annotated[str | None, Parameter(help="How long to wait, such as 30s; 0s does not wait. Default: until the end.")] = None,
    output: Output = None,
    place: Place = PLACE,
) -> Exit:
    """Wait for the end of a run and print its result as JSON; bytes are printed as they are.

    Parameters
    ----------
    id
        The run.
    """
    timeout_s = None if timeout is None else span_us(timeout) / MICROSECONDS

    async def work(engine: Engine) -> Exit:
        run = engine.get(id)
        await wait_for_end(engine, run, timeout_s=timeout_s)
        return await tell_end(engine, run, output=output)

    return ask(place, work)


def send(
    id: str,
    signal: str,
    value: str | None = None,
    /,
    *,
    signal_id: Annotated[
        str | None, Parameter(name="--id", help="Names the signal: sent again with this id, it takes effect once.")
    ] = None,
    place: Place = PLACE,
) -> None:
    """Send a signal to a run. It is durable when the command ends; a node need not be there.

    Parameters
    ----------
    id
        The run.
    signal
        The name of the signal.
    value
        JSON, or plain text where it is not JSON. Default: null.
    """

    async def work(engine: Engine) -> None:
        await engine.get(id).send(signal, None if value is None else value_of(value), id=signal_id)

    ask(place, work)


def update(
    id: str,
    method: str,
    /,
    *args: str,
    arg: Keyword = None,
    update_id: Annotated[
        str | None, Parameter(name="--id", help="Names the update: asked again with this id, it takes effect once.")
    ] = None,
    output: Output = None,
    place: PatientPlace = PATIENT,
) -> None:
    """Call an update method of a run and print its answer as JSON.

    Parameters
    ----------
    id
        The run.
    method
        The name of the method.
    args
        JSON, or plain text where it is not JSON.
    """
    values, keywords = values_of(args), keywords_of(arg or [])

    async def work(engine: Engine) -> Any:
        return await engine.get(id).update(method, *values, update_id=update_id, **keywords)

    print_value(_answer(place, work), output)


def query(id: str, method: str, /, *args: str, arg: Keyword = None, output: Output = None, place: PatientPlace = PATIENT) -> None:
    """Call a query method of a run and print its answer as JSON; the run does not move.

    Parameters
    ----------
    id
        The run.
    method
        The name of the method.
    args
        JSON, or plain text where it is not JSON.
    """
    values, keywords = values_of(args), keywords_of(arg or [])

    async def work(engine: Engine) -> Any:
        return await engine.get(id).query(method, *values, **keywords)

    print_value(_answer(place, work), output)


def _answer(place: Place, work: Callable[[Engine], Awaitable[T]]) -> T:
    """What the user's method raises is its answer, not a mistake of ours."""
    try:
        return ask(place, work)
    except (PerdureError, CommandEnds):
        raise
    except Exception as error:
        failure = failure_of(error)
        name = failure.type.rpartition(":")[2]
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        raise CommandEnds(Exit.FAILED, f"perdure: the method refused: {name}: {failure.message}{notes}") from error


def cancel(
    id: str,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; the run's journal keeps it.")] = "",
    wait: Annotated[bool, Parameter(negative="", show_default=False, help="Wait until the run has ended.")] = False,
    place: Place = PLACE,
) -> Exit:
    """Ask a run to end. Its code sees CancelledError and may clean up.

    Parameters
    ----------
    id
        The run.
    """

    async def work(engine: Engine) -> Exit:
        run = engine.get(id)
        if not await run.cancel(reason):
            raise CommandEnds(Exit.CONFLICT, f"perdure: run {id} has ended already ({await run.status()}).")
        if wait:
            row = await wait_for_end(engine, run)
            print(f"Run {id} is {row.status}.")
        else:
            print(f"Run {id} is asked to end.")
        return Exit.OK

    return ask(place, work)


def resume(id: str, /, *, place: PatientPlace = PATIENT) -> Exit:
    """Try a stalled run again with the code that is served now.

    Parameters
    ----------
    id
        The run.
    """

    async def work(engine: Engine) -> Exit:
        run = engine.get(id)
        status = await run.resume()
        row = await insight.row_of(engine.store, run.id)
        if status is Status.STALLED:
            raise CommandEnds(Exit.STALLED, f"perdure: run {id} is still stalled: {row.reason}")
        print(f"Run {id} is {row.status}.")
        return Exit.OK

    return ask(place, work)


def complete(key: str, value: str | None = None, /, *, place: PatientPlace = PATIENT) -> None:
    """Give an open call its value; a value of the wrong type is refused and leaves the call open.

    Parameters
    ----------
    key
        The key of the call, as perdure why shows it.
    value
        JSON, or plain text where it is not JSON. Default: null.
    """

    async def work(engine: Engine) -> None:
        await engine.complete(key, None if value is None else value_of(value))

    ask(place, work)


def fail(key: str, message: str, /, *, place: PatientPlace = PATIENT) -> None:
    """End an open call by an error, which the workflow sees as its action's error.

    Parameters
    ----------
    key
        The key of the call, as perdure why shows it.
    message
        What went wrong.
    """

    async def work(engine: Engine) -> None:
        await engine.fail(key, message)

    ask(place, work)
