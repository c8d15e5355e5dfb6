"""Faults that are planted in the members of such a storm, to see whether it brings them to light."""

from collections.abc import Callable, Mapping

from perdure.remote.performer import RemotePerformer

FAULT_VARIABLE = "FAR_FAULT"


def _no_resend() -> None:
    """A node takes a call that it has sent for one that a worker will have."""

    async def nothing(performer: RemotePerformer, now_us: int) -> int:
        return 0

    RemotePerformer._send_again = nothing  # type: ignore[method-assign]


FAULTS: Mapping[str, Callable[[], None]] = {"no resend": _no_resend}


def plant(fault: str) -> None:
    """This process has the fault from now on; raises `KeyError` of one that there is not."""
    if fault:
        FAULTS[fault]()
