"""Read-only questions about runs, answered from what the store has."""

from perdure.insight.audit import Audit
from perdure.insight.journal import Entry, content, entries, last_word, row_of, standing_entries
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
from perdure.insight.rules import Fault, Rule, faults_of
from perdure.insight.timeline import Kind, Mark, State, Step, Timeline, TimelineFold, Try

__all__ = [
    "ActionReason",
    "AnyReason",
    "Audit",
    "BranchReason",
    "ChildReason",
    "CodeReason",
    "Entry",
    "Fault",
    "Kind",
    "Mark",
    "NodeReason",
    "OutsideReason",
    "Reason",
    "Rule",
    "SignalReason",
    "StalledReason",
    "State",
    "Step",
    "Timeline",
    "TimelineFold",
    "TimerReason",
    "Try",
    "content",
    "entries",
    "faults_of",
    "last_word",
    "row_of",
    "standing_entries",
    "why",
]
