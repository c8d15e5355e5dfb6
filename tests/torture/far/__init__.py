"""Storms over workers: a node, workers behind a transport and their broker are struck in turn under load, and the books are audited."""
