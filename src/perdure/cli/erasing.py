"""``perdure erase``: the personal data of a run is gone for good."""

from perdure import Engine
from perdure.cli.connection import Place, ask
from perdure.control.erasure import erase as erase_data

_PLACE = Place()


def erase(run: str, /, *, place: Place = _PLACE) -> None:
    """Erase the key of a run's personal data, and with it the data: what stands for it in journals and elsewhere stays, and means nothing.

    Parameters
    ----------
    run
        The id of the run, which need not be there any more.
    """

    async def work(engine: Engine) -> int:
        return await erase_data(engine.store, run)

    erased = ask(place, work)
    values = "1 value" if erased == 1 else f"{erased} values"
    print(f"The key of {run} is erased, and {values} with it.")
