"""Workflows: the user's coroutine on a small deterministic event loop, replayed from the journal."""
