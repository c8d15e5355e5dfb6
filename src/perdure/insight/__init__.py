"""Read-only questions about runs, answered from what the store has."""

from perdure.insight.actions import find_actions, known_actions
from perdure.insight.audit import Audit
from perdure.insight.cost import CostReport, Price, cost_of, prices_of
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
from perdure.insight.registry import ActionView, Attendance, Presence, WorkerView, action_views, attendance, worker_views
from perdure.insight.rules import Fault, Rule, faults_of
from perdure.insight.timeline import Kind, Mark, State, Step, Timeline, TimelineFold, Try

__all__ = [
    "ActionReason",
    "ActionView",
    "AnyReason",
    "Attendance",
    "Audit",
    "BranchReason",
    "ChildReason",
    "CodeReason",
    "CostReport",
    "Entry",
    "Fault",
    "Kind",
    "Mark",
    "NodeReason",
    "OutsideReason",
    "Presence",
    "Price",
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
    "WorkerView",
    "action_views",
    "attendance",
    "content",
    "cost_of",
    "entries",
    "faults_of",
    "find_actions",
    "known_actions",
    "last_word",
    "prices_of",
    "row_of",
    "standing_entries",
    "why",
    "worker_views",
]
