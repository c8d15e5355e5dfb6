"""Calls on their way to performers, and what comes back."""
