"""The suite of the transport port. Inherit `TransportConformance` under a name that pytest collects, and fill in the harness:

    class TestMyTransport(TransportConformance):
        def make_transport(self): ...
        def other_transport(self, transport): ...
        async def crash(self, transport): ...
        def cut(self, transport): ...
        def away(self, transport): ...

What is not true of it (a transport without connections has none to lose) is said in class variables: `TransportHarness`. Tests are plain
functions that run their own event loop, in real time, and wait only for what happens.
"""

from perdure.testing.conformance.breaks import BreakPromises
from perdure.testing.conformance.carriage import AddressPromises, CarriagePromises
from perdure.testing.conformance.looking import LookPromises
from perdure.testing.conformance.settling import SettlingPromises
from perdure.testing.conformance.sharing_out import EndingPromises, SlotPromises
from perdure.testing.conformance.transport_harness import TransportHarness

__all__ = ["TransportConformance", "TransportHarness"]


class TransportConformance(CarriagePromises, AddressPromises, SlotPromises, SettlingPromises, LookPromises, EndingPromises, BreakPromises):
    """Every promise of `perdure.ports.transport`."""
