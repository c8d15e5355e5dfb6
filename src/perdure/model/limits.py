"""Every limit has a name, a default and an error (G8)."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one engine. Reaching one raises or stalls with the error of that name; nothing that is merely large ends a run.

    ``payload_bytes_max``: one value. ``payload_inline_max``: above it a value is stored once, by content hash. ``journal_facts_warn`` and
    ``journal_facts_max``: facts of one incarnation, warned of and stalled at. ``calls_open_max``: open calls of one run.
    ``signals_buffered_max``: unread signals of one channel. ``callbacks_max``: event-loop callbacks in one transition.
    ``attempts_lost_max``: times in a row that a call may take its node down with it. ``attempts_running_max``: attempts that run at once
    on this node; more wait their turn. ``runs_idle_max``: waiting runs kept in memory for a quick wake.
    ``requests_waiting_max``: starts, signals and updates of callers in this process that wait for their commit, or answer; in a process
    that is not the run's node, all that wait for their commit to an inbox. ``arrivals_waiting_max``: what one run is yet to take in. A
    caller beyond either is told `Overloaded` at once. ``letters_max``: dead letters in the store; the oldest beyond it are deleted.
    """

    payload_bytes_max: int = 64 * 1024 * 1024
    payload_inline_max: int = 64 * 1024
    journal_facts_warn: int = 50_000
    journal_facts_max: int = 1_000_000
    calls_open_max: int = 100_000
    signals_buffered_max: int = 10_000
    callbacks_max: int = 5_000_000
    attempts_lost_max: int = 50
    attempts_running_max: int = 10_000
    runs_idle_max: int = 1_000
    requests_waiting_max: int = 100_000
    arrivals_waiting_max: int = 10_000
    letters_max: int = 10_000
