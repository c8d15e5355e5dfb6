"""What operators do to a store: move runs between stores, prune what has ended, look after dead letters."""

from perdure.control.exporting import Export
from perdure.control.importing import Import
from perdure.control.letters import DeadLetters, Letter, PutBack
from perdure.control.namespaces import check_unused, read_policy, write_policy
from perdure.control.pruning import count_outdated, prune

__all__ = ["DeadLetters", "Export", "Import", "Letter", "PutBack", "check_unused", "count_outdated", "prune", "read_policy", "write_policy"]
