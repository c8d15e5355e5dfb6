"""What tests of workflows need: virtual time, crashes at every commit, replay of recorded journals, the conformance suites."""

from perdure.testing.clock import VirtualClock, VirtualEntropy
from perdure.testing.crashes import crash_everywhere, explore_crashes
from perdure.testing.env import Environment, NothingMoves
from perdure.testing.faults import FaultyStore
from perdure.testing.journals import export, replay
from perdure.testing.quiet import NotSettled
from perdure.testing.report import CrashFailure, Report
from perdure.testing.trial import CANCEL

__all__ = [
    "CANCEL",
    "CrashFailure",
    "Environment",
    "FaultyStore",
    "NotSettled",
    "NothingMoves",
    "Report",
    "VirtualClock",
    "VirtualEntropy",
    "crash_everywhere",
    "explore_crashes",
    "export",
    "replay",
]
