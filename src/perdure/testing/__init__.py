"""What tests of workflows need: virtual time, crashes at every commit, replay of recorded journals, the conformance suites."""

from perdure.testing.clock import VirtualClock, VirtualEntropy
from perdure.testing.env import Environment, NothingMoves

__all__ = ["Environment", "NothingMoves", "VirtualClock", "VirtualEntropy"]
