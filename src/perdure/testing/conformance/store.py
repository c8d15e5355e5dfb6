"""The suite of the store port. Inherit `StoreConformance` under a name that pytest collects, and fill in the harness:

    class TestMyStore(StoreConformance):
        def make_store(self): ...
        def other_store(self, store): ...
        def crash(self, store): ...

Tests are plain functions that run their own event loop; no plug-in is needed. Call
``pytest.register_assert_rewrite("perdure.testing.conformance")`` before the import to see the values in a failed assertion.
"""

from perdure.testing.conformance.commits import CommitPromises
from perdure.testing.conformance.harness import StoreHarness
from perdure.testing.conformance.leases import LeasePromises, OneNodePromises
from perdure.testing.conformance.messages import MessagePromises
from perdure.testing.conformance.packets import PacketPromises
from perdure.testing.conformance.packets_lying import LyingPacketPromises
from perdure.testing.conformance.pruning import PruningPromises
from perdure.testing.conformance.reads import AgendaPromises, OpeningPromises, ReadPromises, SettingPromises
from perdure.testing.conformance.records import RecordPromises
from perdure.testing.conformance.sharing import SharingPromises
from perdure.testing.conformance.writers import ManyWritersPromises

__all__ = ["StoreConformance", "StoreHarness"]


class StoreConformance(
    CommitPromises,
    MessagePromises,
    LeasePromises,
    OneNodePromises,
    SharingPromises,
    ManyWritersPromises,
    ReadPromises,
    AgendaPromises,
    PruningPromises,
    SettingPromises,
    OpeningPromises,
    RecordPromises,
    PacketPromises,
    LyingPacketPromises,
):
    """Every promise of `perdure.ports.store`, `perdure.ports.records` and `perdure.ports.packets`."""
