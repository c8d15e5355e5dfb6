"""What operators do to a store: move runs between stores, prune what has ended."""

from perdure.control.exporting import Export
from perdure.control.importing import Import

__all__ = ["Export", "Import"]
