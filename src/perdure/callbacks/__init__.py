"""Callbacks: URLs at which outside services answer a run."""
