"""What operators do to a store: move runs between stores, prune what has ended."""

from perdure.control.exporting import Export
from perdure.control.importing import Import
from perdure.control.pruning import count_outdated, prune

__all__ = ["Export", "Import", "count_outdated", "prune"]
