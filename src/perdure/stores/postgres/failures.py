"""PostgreSQL's errors and the driver's, as ours: https://www.postgresql.org/docs/current/errcodes-appendix.html."""

from typing import Final

import asyncpg

from perdure.model.errors import CorruptJournal, Internal, PerdureError, StoreUnavailable, TooLarge, Unsupported

FENCED: Final = "PDL01"
OTHER_SERVER: Final = "PDL02"
UNEXPECTED_START: Final = "PDL03"
LINKED_START: Final = "PDL04"
UNIQUE_VIOLATION: Final = "23505"

TRANSPORT_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError)
"""What a request can raise that is not ours. `TimeoutError` is an `OSError`."""

_DEADLOCK: Final = ("40001", "40P01")
_READ_ONLY: Final = "25006"


def state_of(error: BaseException) -> str:
    """Give the SQLSTATE; empty where the server did not say one."""
    return getattr(error, "sqlstate", None) or ""


def is_for_the_caller(error: BaseException) -> bool:
    """Tell whether the error is one that our own SQL raises on purpose: what it means, the caller knows."""
    return state_of(error) in (FENCED, OTHER_SERVER, UNEXPECTED_START, LINKED_START, UNIQUE_VIOLATION)


def is_worth_repeating(error: BaseException) -> bool:
    """Tell whether two transactions were in each other's way: nothing was written, and the next try finds the way free."""
    return state_of(error) in _DEADLOCK


def is_refusal(error: BaseException) -> bool:
    """Tell whether the server does not know such a user, password or database. While a server is exchanged it may say so and mean it not:
    whoever is connected already goes on trying.
    """
    return state_of(error)[:2] in ("28", "3D")


def ends_connection(error: BaseException) -> bool:
    """Tell whether the connection is of no more use: it is gone, or it leads to a server that may not write."""
    state = state_of(error)
    if state:
        return state.startswith(("08", "57P", "25P03")) or state == _READ_ONLY
    return True


def translated(error: BaseException, store: str) -> PerdureError:
    """Give our error for one of theirs."""
    state, problem = state_of(error), str(error) or type(error).__name__
    if isinstance(error.__cause__ or error.__context__, UnicodeError):
        # The driver says so, before anything is sent.
        return Unsupported(what="An id, name or tag that is not Unicode text", why=problem)
    match state[:2]:
        case "" | "08" | "53" | "57" | "58" | "40" | "55" | "28" | "3D" | "F0":
            return StoreUnavailable(store=store, problem=f"{problem} ({state})" if state else problem)
        case "25" if state in (_READ_ONLY, "25P03"):
            return StoreUnavailable(store=store, problem=f"{problem} ({state})")
        case "XX" if state in ("XX001", "XX002"):
            return CorruptJournal(what=f"{problem}, in the store {store}")
        case "54":
            return TooLarge(f"The store {store} cannot take or give so much at once: {problem}. Use fewer runs or smaller payloads.")
        case "22" if state in ("22021", "22P05"):
            return Unsupported(what="An id, name or tag with a NUL character", why="text of PostgreSQL has none; use other ids")
        case "42" | "3F" if state in ("42501", "42P01", "42883", "3F000"):
            return Unsupported(what=f"The store {store}", why=f"{problem}; see 'perdure schema apply' and the rights of the user")
        case _:
            return Internal(what=f"The store {store} was used wrongly: {problem} ({state})")
