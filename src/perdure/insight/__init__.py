"""Read-only questions about runs, answered from what the store has."""

from perdure.insight.journal import Entry, content, entries, last_word, row_of
from perdure.insight.reasons import (
    ActionReason,
    AnyReason,
    BranchReason,
    ChildReason,
    CodeReason,
    NodeReason,
    OutsideReason,
    Reason,
    SignalReason,
    StalledReason,
    TimerReason,
    why,
)

__all__ = [
    "ActionReason",
    "AnyReason",
    "BranchReason",
    "ChildReason",
    "CodeReason",
    "Entry",
    "NodeReason",
    "OutsideReason",
    "Reason",
    "SignalReason",
    "StalledReason",
    "TimerReason",
    "content",
    "entries",
    "last_word",
    "row_of",
    "why",
]
