"""A whole world from one number: several nodes on one store, clients, and all that can go wrong between them, in virtual time.

``python -m perdure.testing.simulation`` goes through seeds; `simulate` is one world, `shrink` makes a failure small, `tell` says it.
"""

from perdure.testing.simulation.faults import Fault, Kind
from perdure.testing.simulation.shrinking import shrink, tell
from perdure.testing.simulation.world import Report, simulate

__all__ = ["Fault", "Kind", "Report", "shrink", "simulate", "tell"]
