"""Identifiers. Each is a string of its own type, so that one cannot be passed for another."""

from typing import NewType

_DIGEST_DIGITS = 16

RunId = NewType("RunId", str)
"""Names a run. Chosen by the caller, or a time-ordered token made by the engine."""

CallName = NewType("CallName", str)
"""Names a durable operation inside one incarnation of a run: branch path and ordinal, such as ``"3"`` or ``"2.1/4"``."""

CallKey = NewType("CallKey", str)
"""Names a call over all runs, the same for every attempt and replay: the idempotency key given to actions."""


def call_key(run: RunId, base: int, call: CallName) -> CallKey:
    """Join run, incarnation and call into the key that stays the same over attempts, replays and restarts."""
    return CallKey(f"{run}#{base}#{call}")


def reply_id(run: RunId, message: str) -> str:
    """Name the answer to a message over all runs: two of them may be sent messages with one id."""
    return f"{len(run)}#{run}#{message}"


def signal_message(signal: str) -> str:
    """Name the message of a signal among all that an inbox may hold: ids of other kinds end otherwise, whatever their senders chose."""
    return f"{signal}#signal"


def update_message(update: str, digest: str) -> str:
    """Name the message of an update, as `signal_message` does. Two that differ in content differ in name: each is answered."""
    return f"{update}#update~{digest[:_DIGEST_DIGITS]}"


def split_call_key(key: str) -> tuple[RunId, int, CallName] | None:
    """Take a call key apart; ``None`` if it is not one."""
    run, first, rest = key.partition("#")
    base, second, call = rest.partition("#")
    if not (first and second and run and call and base.isascii() and base.isdigit()):
        return None
    return RunId(run), int(base), CallName(call)
